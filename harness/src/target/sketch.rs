//! The `target.toml` of a gateway that runs already, written for people to go on with.
//!
//! What is known stands in it; what would let more be seen stands in it as a comment, with what it
//! gives. Secrets are named by their variables. The text is a description like any other.

use std::{fmt::Write as _, time::Duration};

use scenarios::duration;

/// The models that plans ask for unless they are told otherwise.
const OURS: [&str; 2] = ["gauntlet-a", "gauntlet-b"];

/// What is known of a gateway.
#[derive(Clone, Debug)]
pub struct Sketch {
    /// What people call it.
    pub name: String,
    /// The adapter that knows it, or the nearest.
    pub adapter: &'static str,
    /// What it is, and by what it was known: `LiteLLM 1.102.4, by the title of its /openapi.json`.
    pub known_as: String,
    /// Why the adapter is only the nearest one, where it is.
    pub doubt: Option<String>,
    /// The addresses of its replicas.
    pub replicas: Vec<String>,
    /// What says that several processes serve one address, where something does.
    pub several: Option<String>,
    /// The variable that holds its admin key, where there is one.
    pub admin_key: Option<String>,
    /// The models that it offers, where it showed them.
    pub models: Option<Vec<String>>,
    /// How long it keeps an identity in a cache unless it is told otherwise.
    pub lifetime: Duration,
}

impl Sketch {
    /// The models that plans will ask for: ours where they are there, else the first two offered.
    pub fn asked_for(&self) -> [&str; 2] {
        let offered: Vec<&str> = self.models.iter().flatten().map(String::as_str).collect();
        // A pattern is no model.
        let mut plain = offered.iter().copied().filter(|model| !model.contains('*'));
        match (self.has_ours(), plain.next(), plain.next()) {
            (false, Some(one), Some(other)) => [one, other],
            _ => OURS,
        }
    }

    /// Whether the gateway offers the models that plans ask for unless they are told otherwise.
    pub fn has_ours(&self) -> bool {
        let offered = self.models.as_deref().unwrap_or_default();
        OURS.iter().all(|ours| offered.iter().any(|model| model == ours))
    }

    /// The text of its description.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to memory cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Sketch { known_as, adapter, .. } = self;
        writeln!(
            text,
            "# A gateway that runs already: {known_as}.\n\
             #\n\
             #     gauntlet probe --target FILE     what can be done and seen, and what each gap takes\n\
             #     gauntlet check --target FILE     the checks that apply\n\
             \n\
             name = {}",
            quoted(&self.name)
        )?;
        if let Some(doubt) = &self.doubt {
            writeln!(text, "# {doubt}")?;
        }
        writeln!(text, "adapter = {}\n", quoted(adapter))?;
        self.write_models(text)?;
        writeln!(
            text,
            "[attached]\n\
             # Each replica by an address of its own, or the one balancer before them. With two or more,\n\
             # what one does is compared with what another knows of it."
        )?;
        if let Some(several) = &self.several {
            writeln!(text, "# {several}")?;
        }
        let replicas: Vec<_> = self.replicas.iter().map(|url| quoted(url)).collect();
        writeln!(text, "replicas = [{}]", replicas.join(", "))?;
        writeln!(
            text,
            "# How many processes serve each address; all of them are reached where staleness is judged.\n\
             # workers = 1\n\
             # The key that may manage teams, users and keys: every check issues keys of its own."
        )?;
        match &self.admin_key {
            Some(name) => writeln!(text, "admin_key = {}", quoted(&format!("os.environ/{name}")))?,
            None => writeln!(text, "# admin_key = \"os.environ/GAUNTLET_ADMIN_KEY\"")?,
        }
        text.push_str(MORE);
        let lifetime = duration::text(self.lifetime);
        let propagation = duration::text(self.lifetime + Duration::from_secs(2));
        writeln!(
            text,
            "\n[bounds]\n\
             # How long an identity may be served from a cache, as you configured it. Waits follow from it:\n\
             # the shorter it is, the sooner a run is over. Left out, it is what {adapter} has by default.\n\
             # auth_cache_ttl = {}\n\
             # How long a change may take to hold on every replica, where that is more or less than the\n\
             # lifetime and two seconds.\n\
             # propagation = {}",
            quoted(&lifetime),
            quoted(&propagation)
        )
    }

    fn write_models(&self, text: &mut String) -> std::fmt::Result {
        let [one, other] = self.asked_for();
        let ours = self.has_ours();
        match &self.models {
            Some(offered) if !ours && one != OURS[0] => {
                let offered: Vec<_> = offered.iter().map(|model| quoted(model)).collect();
                writeln!(
                    text,
                    "# Two models that plans ask for, of those that it offers: {}.\n\
                     # Where they end at a provider who bills, every prompt of a run is billed. Point {OURS:?}\n\
                     # at the mock provider, and put those here.",
                    offered.join(", "),
                )?;
            }
            Some(_) if ours => writeln!(text, "# The models that plans ask for.")?,
            Some(_) | None => writeln!(
                text,
                "# The models that plans ask for. It does not offer them yet, or did not say so: point them\n\
                 # at the mock provider."
            )?,
        }
        writeln!(text, "models = [{}, {}]\n", quoted(one), quoted(other))
    }
}

/// What lets more be seen.
const MORE: &str = "
# Each line below lets more be seen; `gauntlet probe` says which checks each one adds.
#
# The mock provider that the models end at. Its ledger says which prompts arrived, and for whom.
# mock_url = \"http://127.0.0.1:9100\"
#
# The Redis that replicas share. Its MONITOR tells each command with keys and values (and no reply).
# It slows that Redis down while a run lasts, and shows what all of its clients ask.
# redis_url = \"os.environ/GATEWAY_REDIS_URL\"
#
# The log of each replica, in the order of `replicas`: a file that is written to, or a command that
# follows one.
# logs = [\"/var/log/gateway.log\"]
# logs = [[\"kubectl\", \"logs\", \"--follow\", \"--tail=0\", \"gateway-0\"]]
#
# What a gateway asks of Postgres, and what Redis replies, is seen by store proxies only: these need
# a [managed] target, which is started by us.
";

/// A string of TOML on one line. JSON writes it so too, but for one character.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::target::{Reach, Surroundings, TargetDescription};

    fn sketch() -> Sketch {
        Sketch {
            name: "127.0.0.1:4000".to_owned(),
            adapter: "litellm",
            known_as: "LiteLLM 1.102.4, by the title of its /openapi.json".to_owned(),
            doubt: None,
            replicas: vec!["http://127.0.0.1:4000".to_owned()],
            several: None,
            admin_key: Some("KEY".to_owned()),
            models: Some(vec!["openai/*".to_owned(), "gpt".to_owned(), "claude".to_owned()]),
            lifetime: Duration::from_secs(60),
        }
    }

    fn parsed(text: &str) -> TargetDescription {
        let variable = |_: &str| Some("redis://127.0.0.1:6379".to_owned());
        let around = Surroundings { adapters: &["reference", "litellm"], variable: &variable };
        TargetDescription::parse(Path::new("target.toml"), text, around)
            .unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn what_is_written_is_a_description_of_what_is_known() {
        let description = parsed(&sketch().text());
        assert_eq!(description.adapter, "litellm");
        assert_eq!(description.models, ["gpt", "claude"]);
        let Reach::Attached(attached) = description.reach else { panic!("attached") };
        assert_eq!(attached.replicas[0].as_str(), "http://127.0.0.1:4000/");
        assert!(attached.admin_key.is_some() && attached.mock_url.is_none());
    }

    #[test]
    fn every_line_that_is_offered_is_understood_once_it_is_no_comment() {
        let text = sketch().text();
        let offered: Vec<_> =
            text.lines().filter(|line| line.starts_with("# ") && line.contains(" = ")).collect();
        assert!(offered.len() >= 6, "{offered:#?}");
        for line in offered {
            let open = text.replace(line, line.trim_start_matches("# "));
            assert_ne!(open, text);
            parsed(&open);
        }
    }

    #[test]
    fn our_own_models_are_asked_for_where_they_are_there_or_nothing_else_is() {
        let offering = |models: Option<&[&str]>| {
            let models = models.map(|all| all.iter().map(|model| (*model).to_owned()).collect());
            Sketch { models, ..sketch() }
        };
        let all = offering(Some(&["x", "y", "gauntlet-b", "gauntlet-a"]));
        assert_eq!(all.asked_for(), OURS);
        assert!(all.has_ours());
        // With a single model, half of what plans ask for would not be there.
        for few in [offering(None), offering(Some(&[])), offering(Some(&["x", "y*"]))] {
            assert_eq!(few.asked_for(), OURS);
            assert!(few.text().contains("does not offer them yet"), "{}", few.text());
            parsed(&few.text());
        }
    }

    #[test]
    fn whatever_a_gateway_calls_its_models_is_text() {
        let odd = Sketch {
            models: Some(vec!["a\"b\\".to_owned(), "c'\n\u{7}\u{7f}".to_owned()]),
            name: "a \"b\"".to_owned(),
            ..sketch()
        };
        assert_eq!(parsed(&odd.text()).models, ["a\"b\\", "c'\n\u{7}\u{7f}"]);
    }
}
