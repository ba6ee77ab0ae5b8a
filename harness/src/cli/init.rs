//! `gauntlet init`: asks a gateway that runs what it is, and writes its `target.toml`.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
};

use reqwest::Url;

use super::{
    CliError, ExitStatus, Surroundings,
    interrupt::interrupted,
    progress::Progress,
    target::{is_loopback, may_be_asked},
};
use crate::{
    adapters::{self, Names},
    client::Client,
    generators::identities::at_first,
    history::CallId,
    op::{Admin, Id, Kind, Outcome, Refusal, Terms},
    plan::{IdShape, Plan},
    runner::{
        join::{Drive, Prefixes, new_run},
        recognise::{Product, RecogniseError, Recognised, recognise},
        redact::redacted,
        steps::Steps,
    },
    target::{Secret, sketch::Sketch},
};

/// What refers to a variable of the environment.
const VARIABLE: &str = "os.environ/";

/// The variable that an admin key is taken from unless another one is named.
const KEY_VARIABLE: &str = "GAUNTLET_ADMIN_KEY";

/// Where the mock provider of the snippet listens.
const MOCK_PORT: u16 = 9100;

/// Arguments of `gauntlet init`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  gauntlet init http://127.0.0.1:4000 --admin-key os.environ/GATEWAY_ADMIN_KEY
  gauntlet init http://127.0.0.1:4000 --replica http://127.0.0.1:4001 --out staging.toml")]
pub struct InitArgs {
    /// The URL that callers of the gateway have, without the path of the API.
    #[arg(value_name = "URL")]
    url: String,

    /// The key that may manage teams, users and keys, or `os.environ/NAME` for a variable.
    #[arg(long, env = "GAUNTLET_ADMIN_KEY", value_name = "KEY", hide_env_values = true)]
    admin_key: Option<String>,

    /// Another replica of it, by an address of its own; may be repeated.
    #[arg(long, value_name = "URL")]
    replica: Vec<String>,

    /// Where to write the description.
    #[arg(long, value_name = "FILE", default_value = "target.toml")]
    out: PathBuf,

    /// Write over a file that is there.
    #[arg(long)]
    force: bool,

    /// Send requests to this host too, which is not this machine; may be repeated.
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,
}

/// Why a gateway cannot be described.
///
/// Messages are lowercase fragments.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// It is not known what answers.
    #[error(transparent)]
    Unknown(#[from] RecogniseError),
    /// An address leads to another product than the first one.
    #[error("{replica} is {found}, and {base} is {expected}; give replicas of one gateway")]
    Differs {
        /// The first address.
        base: String,
        /// What is there.
        expected: &'static str,
        /// The other address.
        replica: String,
        /// What is there.
        found: &'static str,
    },
    /// The key is good, and not an administrator's.
    #[error(
        "the gateway at {base} knows the key, and does not let it make a team ({status}: {message}); give --admin-key the key of an administrator"
    )]
    NotAnAdministrator {
        /// Which address.
        base: String,
        /// The status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// It was stopped while a team was made, and the team could not be deleted.
    #[error(
        "it was stopped while the team `{team}` was made at {base}, which could not be deleted ({why}); if it is there, delete it"
    )]
    LeftBehind {
        /// Which address.
        base: String,
        /// The id of the team.
        team: String,
        /// Why it could not be deleted.
        why: String,
    },
    /// No HTTP client could be made.
    #[error("cannot make an HTTP client")]
    Http(#[source] reqwest::Error),
}

/// The admin key, and how a description refers to it.
struct AdminKey {
    secret: Secret,
    variable: String,
    /// Whether the variable holds it already.
    is_set: bool,
}

/// What management calls with the admin key came to.
enum Managing {
    /// A team was created and deleted.
    Works,
    /// There was no key to try.
    NotTried,
    /// Calls of this kind are not known there.
    Unknown(String),
}

/// Everything that was found out.
struct Found {
    first: Recognised,
    managing: Managing,
}

impl InitArgs {
    /// Asks the gateway, writes the description, and tells how to go on.
    ///
    /// # Errors
    ///
    /// When a URL is none, may not be asked, or leads to no gateway; the admin key is refused; or the
    /// file is there already or cannot be written.
    pub async fn run(&self, around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
        let mut bases = Vec::new();
        for text in std::iter::once(&self.url).chain(&self.replica) {
            bases.push(base(text, &self.allow_host)?);
        }
        let key = self.key(around)?;
        if self.out.exists() && !self.force {
            return Err(CliError::Usage(format!(
                "{} is there already; write over it with --force, or write elsewhere with --out",
                self.out.display()
            )));
        }
        let mut progress = Progress::new(around.err, around.err_is_terminal, false, None);
        let steps = Steps::default();
        steps.begin("asking what it is");
        let asking = async {
            tokio::select! {
                biased;
                () = interrupted() => Err(CliError::Interrupted),
                found = find_out(&bases, key.as_ref()) => Ok(found?),
            }
        };
        let asking = async {
            let first = asking.await?;
            // Not to be dropped half-way: it makes something that it has to delete.
            let managing = match &key {
                Some(key) => manage(text_of(&bases[0]), first.product, &key.secret).await?,
                None => Managing::NotTried,
            };
            Ok::<_, CliError>(Found { first, managing })
        };
        let found = progress.while_at(&self.url, &steps, asking).await;
        progress.end();
        let found = found?;
        let sketch = sketch(&bases, &found, key.as_ref());
        self.write(&sketch.text())?;
        self.tell(&sketch, &found, key.as_ref(), around.out)?;
        Ok(ExitStatus::Pass)
    }

    fn key(&self, around: &Surroundings<'_>) -> Result<Option<AdminKey>, CliError> {
        let Some(text) = &self.admin_key else { return Ok(None) };
        if text.is_empty() {
            return Err(CliError::Usage(format!(
                "the admin key is empty; set it, or unset {KEY_VARIABLE} and go on without one"
            )));
        }
        let Some(name) = text.strip_prefix(VARIABLE) else {
            let is_set = (around.variable)(KEY_VARIABLE).is_some_and(|value| value == *text);
            let variable = KEY_VARIABLE.to_owned();
            return Ok(Some(AdminKey { secret: Secret::new(text), variable, is_set }));
        };
        match (around.variable)(name) {
            Some(value) if value.is_empty() => Err(CliError::Usage(format!(
                "{name}, which --admin-key refers to, is set to nothing; set it to the key"
            ))),
            Some(value) => {
                let variable = name.to_owned();
                Ok(Some(AdminKey { secret: Secret::new(value), variable, is_set: true }))
            }
            None => Err(CliError::Usage(format!(
                "the environment has no {name}, which --admin-key refers to; set it, or give the key itself"
            ))),
        }
    }

    fn write(&self, text: &str) -> Result<(), CliError> {
        let unwritable = |source| CliError::Unwritable { path: self.out.clone(), source };
        if self.force {
            return fs::write(&self.out, text).map_err(unwritable);
        }
        // Whatever was put there since we looked is not ours to write over.
        let mut file = File::create_new(&self.out).map_err(unwritable)?;
        file.write_all(text.as_bytes()).map_err(unwritable)
    }

    fn tell(
        &self,
        sketch: &Sketch,
        found: &Found,
        key: Option<&AdminKey>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let file = self.out.display();
        writeln!(out, "gateway    {}", sketch.known_as)?;
        for (number, replica) in sketch.replicas.iter().enumerate() {
            writeln!(out, "replica {number}  {replica}")?;
        }
        if let Some((header, values)) = found.first.served_by {
            writeln!(out, "           {values} processes answer there, as `{header}` says")?;
        }
        match &sketch.models {
            Some(models) => writeln!(out, "models     {}", one_line(&models.join(", ")))?,
            None => writeln!(out, "models     not shown without a key")?,
        }
        let managing = match &found.managing {
            Managing::Works => "works: a team was created and deleted".to_owned(),
            Managing::NotTried => format!(
                "none; no check applies without one: set {KEY_VARIABLE} and run this again with --force"
            ),
            Managing::Unknown(why) => format!("of no use: {why}"),
        };
        writeln!(out, "admin key  {managing}")?;
        writeln!(out, "\nwrote {file}; next:\n")?;
        if let Some(key) = key.filter(|key| !key.is_set) {
            writeln!(out, "  export {}=…    # the key itself was not written down", key.variable)?;
        }
        let hosts: Vec<_> =
            self.allow_host.iter().map(|host| format!(" --allow-host {host}")).collect();
        let hosts = hosts.concat();
        writeln!(out, "  gauntlet probe --target {file}{hosts}")?;
        writeln!(out, "  gauntlet check --target {file} --profile smoke{hosts}")?;
        snippet(sketch, found.first.product, &file.to_string(), out)
    }
}

/// What a URL of the command line stands for, without the path of the API.
fn base(text: &str, allowed: &[String]) -> Result<Url, CliError> {
    let url = Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(mut url) = url else {
        return Err(CliError::Usage(format!(
            "`{}` is not a URL; write one as in `http://127.0.0.1:4000`",
            redacted(text)
        )));
    };
    if url.password().is_some() || !url.username().is_empty() {
        return Err(CliError::Usage(
            "a URL with a user or password is not for a file; give the key with --admin-key"
                .to_owned(),
        ));
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/');
    // Whoever copies the URL that clients are configured with means the gateway too.
    let path = path.strip_suffix("/v1").unwrap_or(path).to_owned();
    url.set_path(&path);
    may_be_asked(url.as_str(), url.host_str().unwrap_or_default(), allowed)?;
    Ok(url)
}

fn text_of(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// What answers at the first address, once all are known to be of one product.
async fn find_out(bases: &[Url], key: Option<&AdminKey>) -> Result<Recognised, InitError> {
    let secret = key.map(|key| &key.secret);
    let mut all = Vec::new();
    for base in bases {
        all.push((text_of(base), recognise(&text_of(base), secret).await?));
    }
    let ((base, first), others) = (all[0].clone(), &all[1..]);
    if let Some((replica, found)) = others.iter().find(|(_, it)| it.product != first.product) {
        let (expected, found) = (first.product.name(), found.product.name());
        return Err(InitError::Differs { base, expected, replica: replica.clone(), found });
    }
    Ok(first)
}

/// Makes a team and deletes it again, whatever becomes of the making: somebody may want an end while it
/// is under way, and an answer may be lost.
async fn manage(base: String, product: Product, key: &Secret) -> Result<Managing, CliError> {
    let Some(adapter) = adapters::named(product.adapter()) else {
        return Ok(Managing::Unknown("no adapter knows it".to_owned()));
    };
    let client = Client::new(vec![base.clone()], key.expose().to_owned(), adapter)
        .map_err(InitError::Http)?;
    let steps = [
        at_first(Admin::CreateTeam { team: Id(0), terms: Terms::UNSAID }),
        at_first(Admin::DeleteTeam { team: Id(0) }),
    ];
    let names = Names {
        prefix: Prefixes::of_run(new_run()).of(Drive(0)),
        plan: Plan::new(vec![IdShape::Plain], steps.into()),
        aliases: Vec::new(),
        keys: std::collections::BTreeMap::new(),
    };
    let mut calls = (0..).map(CallId).zip(names.plan.calls());
    let (Some(make), Some(delete)) = (calls.next(), calls.next()) else {
        return Err(CliError::Ours("a team is made and deleted by two calls".to_owned()));
    };
    let made = tokio::select! {
        biased;
        () = interrupted() => None,
        learned = client.apply(make.0, make.1, &names) => Some(learned.outcome),
    };
    let is_wanted_no_more = made.is_none();
    // Why it is not known whether there is a team now.
    let doubt = match made {
        Some(Outcome::Answered { .. } | Outcome::Listed { .. }) => None,
        Some(Outcome::Refused { status, refusal, message, .. }) if status < 500 => {
            let message = redacted(&message);
            return match refusal {
                Refusal::Unauthenticated | Refusal::ModelDenied => {
                    Err(InitError::NotAnAdministrator { base, status, message }.into())
                }
                _ => Ok(Managing::Unknown(format!("a team cannot be made ({status}: {message})"))),
            };
        }
        // Whoever stands before the gateway may have lost the answer.
        Some(Outcome::Refused { status, message, .. }) => {
            Some(format!("{status}: {}", redacted(&message)))
        }
        Some(Outcome::Indeterminate { why }) => Some(redacted(&why)),
        None => Some("we were asked to stop".to_owned()),
    };
    let left = match client.apply(delete.0, delete.1, &names).await.outcome {
        Outcome::Answered { .. } | Outcome::Listed { .. } => None,
        Outcome::Refused { status, message, .. } => {
            Some(format!("{status}: {}", redacted(&message)))
        }
        Outcome::Indeterminate { why } => Some(redacted(&why)),
    };
    let team = names.id(Kind::Team, Id(0));
    let told = match (doubt, left) {
        (None, None) => return Ok(Managing::Works),
        (_, Some(why)) if is_wanted_no_more => {
            return Err(InitError::LeftBehind { base, team, why }.into());
        }
        (_, None) if is_wanted_no_more => return Err(CliError::Interrupted),
        (Some(doubt), None) => {
            format!("whether a team was made was not told ({doubt}); it is deleted")
        }
        (None, Some(why)) => {
            format!("a team was made and could not be deleted ({why}); delete the team `{team}`")
        }
        (Some(doubt), Some(why)) => format!(
            "whether a team was made was not told ({doubt}), and it could not be deleted ({why}); if there \
             is a team `{team}`, delete it"
        ),
    };
    Ok(Managing::Unknown(told))
}

fn sketch(bases: &[Url], found: &Found, key: Option<&AdminKey>) -> Sketch {
    let Recognised { product, sign, version, models, served_by } = &found.first;
    let version = version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let first = &bases[0];
    let host = first.host_str().unwrap_or_default();
    let port = first.port().map(|port| format!(":{port}")).unwrap_or_default();
    let doubt = match (product, &found.managing) {
        (Product::OpenAiLike, _) => Some(
            "No adapter knows this gateway; this one is the nearest. What it needs of its own is told in\n\
             # harness/README.md, `Add a gateway`."
                .to_owned(),
        ),
        (_, Managing::Unknown(why)) => Some(format!("Its management calls are not as expected: {}", one_line(why))),
        (_, Managing::Works | Managing::NotTried) => None,
    };
    let adapter = product.adapter();
    let lifetime = adapters::named(adapter).map(adapters::Adapter::default_ttl);
    Sketch {
        name: format!("{host}{port}"),
        adapter,
        known_as: one_line(&format!("{}{version}, by {sign}", product.name())),
        doubt,
        replicas: bases.iter().map(text_of).collect(),
        several: served_by.map(|(header, values)| {
            format!(
                "{values} processes answer at the first one, as its header `{header}` says: set `workers`, or\n\
                 # name each replica by an address of its own."
            )
        }),
        admin_key: key.map(|key| key.variable.clone()),
        models: models.clone(),
        lifetime: lifetime.unwrap_or_default(),
    }
}

/// A text of the gateway's own, on one line and without what could move a cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Writes what points the gateway at the mock provider.
fn snippet(sketch: &Sketch, product: Product, file: &str, out: &mut dyn Write) -> io::Result<()> {
    let far = sketch.replicas.iter().any(|replica| {
        let host = Url::parse(replica).ok().and_then(|url| url.host_str().map(str::to_owned));
        host.is_none_or(|host| !is_loopback(&host))
    });
    let (listen, mock) = match far {
        true => (" --host 0.0.0.0", format!("http://MOCK-HOST:{MOCK_PORT}")),
        false => ("", format!("http://127.0.0.1:{MOCK_PORT}")),
    };
    let whole = match product {
        Product::LiteLlm | Product::Reference => "",
        Product::OpenAiLike => {
            ", in whatever words it has for it (an OpenAI-compatible provider\n   at that `api_base`)"
        }
    };
    writeln!(
        out,
        "\nTo have the provider's side seen too, point the gateway at the mock provider:\n\n\
         1. start it{}:\n\n  mock-provider{listen} --port {MOCK_PORT}\n\n\
         2. add these to the gateway's configuration{whole}, and restart it:\n",
        if far { " where the gateway reaches it" } else { "" }
    )?;
    writeln!(out, "model_list:")?;
    for model in ["gauntlet-a", "gauntlet-b"] {
        writeln!(
            out,
            "  - model_name: {model}\n    litellm_params: {{model: openai/mock-ok, api_base: \"{mock}/v1\", \
             api_key: sk-provider-of-the-mock}}"
        )?;
    }
    if product == Product::LiteLlm {
        writeln!(
            out,
            "router_settings:\n  num_retries: 0            # a failure that is retried is a failure unseen\n  \
             disable_cooldowns: true"
        )?;
    }
    writeln!(out, "\n3. and these to {file}, the first in place of what it says:\n")?;
    writeln!(out, "models = [\"gauntlet-a\", \"gauntlet-b\"]")?;
    writeln!(out, "mock_url = \"{mock}\"      # below [attached]")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{header, method, path},
    };

    use super::*;
    use crate::target::{Reach, Surroundings as Described, TargetDescription};

    const KEY: &str = "sk-admin-0123456789";

    /// What a command came to: its status or error, what it said, and the file that it wrote.
    struct Ran {
        status: Result<ExitStatus, CliError>,
        out: String,
        file: Option<String>,
    }

    impl Ran {
        #[track_caller]
        fn error(&self) -> (ExitStatus, String) {
            let error = self.status.as_ref().unwrap_err();
            assert_eq!(self.file, None, "nothing is written where something went wrong");
            (error.status(), error.told())
        }

        #[track_caller]
        fn described(&self) -> TargetDescription {
            assert_eq!(*self.status.as_ref().unwrap(), ExitStatus::Pass);
            let variable = |_: &str| Some(KEY.to_owned());
            let around = Described { adapters: &["reference", "litellm"], variable: &variable };
            let text = self.file.as_ref().unwrap();
            TargetDescription::parse(Path::new("target.toml"), text, around)
                .unwrap_or_else(|error| panic!("{error}\n{text}"))
        }
    }

    async fn init(url: &str, change: impl FnOnce(&mut InitArgs)) -> Ran {
        let folder = tempfile::tempdir().unwrap();
        let mut args = InitArgs {
            url: url.to_owned(),
            admin_key: None,
            replica: Vec::new(),
            out: folder.path().join("target.toml"),
            force: false,
            allow_host: Vec::new(),
        };
        change(&mut args);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut around = Surroundings {
            out: &mut out,
            err: &mut err,
            colour: false,
            err_is_terminal: false,
            width: 100,
            program: PathBuf::from("/nowhere/gauntlet"),
            search_path: None,
            variable: &|name| match name {
                "GATEWAY_KEY" => Some(KEY.to_owned()),
                "EMPTY" => Some(String::new()),
                _ => None,
            },
        };
        let status = args.run(&mut around).await;
        let file = fs::read_to_string(&args.out).ok();
        Ran { status, out: String::from_utf8(out).unwrap(), file }
    }

    /// A gateway that offers these models, to whoever has the admin key.
    async fn gateway(title: &str, models: &[&str]) -> MockServer {
        let server = MockServer::start().await;
        let listed: Vec<_> = models.iter().map(|model| json!({"id": model})).collect();
        let admin = || header("authorization", format!("Bearer {KEY}").as_str());
        let answer = |body| ResponseTemplate::new(200).set_body_json(body);
        let refused = json!({"error": {"message": "Authentication Error, no"}});
        let info = json!({"info": {"title": title, "version": "1.102.4"}});
        let serve = async |mock: wiremock::MockBuilder, answer: ResponseTemplate| {
            mock.respond_with(answer).mount(&server).await;
        };
        serve(Mock::given(path("/openapi.json")), answer(info)).await;
        let listing = Mock::given(path("/v1/models")).and(admin());
        serve(listing, answer(json!({"data": listed}))).await;
        for call in ["/team/new", "/team/delete"] {
            let call = Mock::given(method("POST")).and(path(call)).and(admin());
            serve(call, answer(json!({"team_id": "t"}))).await;
        }
        serve(
            Mock::given(method("GET")).and(path("/v1/models")),
            ResponseTemplate::new(401).set_body_json(refused),
        )
        .await;
        server
    }

    /// A gateway that lists a model to everybody, and knows no management call yet.
    async fn listing_one_model() -> MockServer {
        let server = MockServer::start().await;
        let models = ResponseTemplate::new(200).set_body_json(json!({"data": [{"id": "a"}]}));
        Mock::given(path("/v1/models"))
            .respond_with(models.insert_header("x-gateway-version", "0.1.0"))
            .mount(&server)
            .await;
        server
    }

    #[tokio::test]
    async fn a_gateway_is_described_and_its_key_is_nowhere() {
        let server = gateway("LiteLLM API", &["gpt", "claude"]).await;
        let ran = init(&format!("{}/v1/", server.uri()), |args| {
            args.admin_key = Some("os.environ/GATEWAY_KEY".to_owned());
        })
        .await;
        let description = ran.described();
        assert_eq!(
            (description.adapter.as_str(), &description.models[..]),
            ("litellm", &["gpt".to_owned(), "claude".to_owned()][..])
        );
        let Reach::Attached(attached) = description.reach else { panic!("attached") };
        assert_eq!(attached.replicas[0].as_str(), format!("{}/", server.uri()));
        assert_eq!(attached.admin_key.unwrap().expose(), KEY);
        let file = ran.file.unwrap();
        assert!(file.contains("admin_key = \"os.environ/GATEWAY_KEY\""), "{file}");
        assert!(file.contains("LiteLLM 1.102.4"), "{file}");
        assert!(!file.contains(KEY) && !ran.out.contains(KEY), "{file}\n{}", ran.out);
        for said in [
            "a team was created and deleted",
            "model_name: gauntlet-a",
            "mock-provider --port 9100",
        ] {
            assert!(ran.out.contains(said), "no {said:?} in {}", ran.out);
        }
    }

    #[tokio::test]
    async fn a_key_on_the_command_line_is_to_be_put_into_a_variable() {
        let server = gateway("LiteLLM API", &["gpt", "claude"]).await;
        let ran = init(&server.uri(), |args| args.admin_key = Some(KEY.to_owned())).await;
        ran.described();
        assert!(ran.out.contains("export GAUNTLET_ADMIN_KEY=…"), "{}", ran.out);
        assert!(!ran.file.unwrap().contains(KEY) && !ran.out.contains(KEY), "{}", ran.out);
    }

    #[tokio::test]
    async fn without_a_key_the_description_says_what_is_missing() {
        let server = gateway("LiteLLM API", &["gpt"]).await;
        let ran = init(&server.uri(), |_| ()).await;
        let Reach::Attached(attached) = ran.described().reach else { panic!("attached") };
        assert_eq!(attached.admin_key, None);
        assert!(ran.out.contains("not shown without a key"), "{}", ran.out);
        assert!(ran.out.contains("no check applies without one"), "{}", ran.out);
    }

    #[tokio::test]
    async fn a_refused_key_is_told_and_nothing_is_written() {
        let server = gateway("LiteLLM API", &["gpt"]).await;
        let ran = init(&server.uri(), |args| args.admin_key = Some("sk-wrong".to_owned())).await;
        let (status, told) = ran.error();
        assert_eq!(status, ExitStatus::Setup);
        assert!(told.contains("refuses the admin key (401"), "{told}");
    }

    #[tokio::test]
    async fn a_key_that_may_only_chat_is_no_administrators() {
        let server = listing_one_model().await;
        let refused = json!({"error": {"message": "Only proxy admin", "type": "auth_error"}});
        Mock::given(path("/team/new"))
            .respond_with(ResponseTemplate::new(401).set_body_json(refused))
            .mount(&server)
            .await;
        let ran = init(&server.uri(), |args| args.admin_key = Some(KEY.to_owned())).await;
        let (status, told) = ran.error();
        assert_eq!(status, ExitStatus::Setup);
        assert!(told.contains("give --admin-key the key of an administrator"), "{told}");
    }

    #[tokio::test]
    async fn a_team_that_cannot_be_deleted_is_named() {
        let server = listing_one_model().await;
        let made = ResponseTemplate::new(200).set_body_json(json!({"team_id": "t"}));
        let lost = ResponseTemplate::new(502).set_body_string("bad gateway");
        for (answer, said) in [(made, "a team was made"), (lost.clone(), "whether a team was made")]
        {
            let create =
                Mock::given(path("/team/new")).respond_with(answer).mount_as_scoped(&server);
            let create = create.await;
            let delete = Mock::given(path("/team/delete")).respond_with(lost.clone()).expect(1);
            let delete = delete.mount_as_scoped(&server).await;
            let ran = init(&server.uri(), |args| args.admin_key = Some(KEY.to_owned())).await;
            let sent = &create.received_requests().await[0];
            let team: Value = sent.body_json().unwrap();
            let named = format!("`{}`", team["team_id"].as_str().unwrap());
            assert!(ran.out.contains(said) && ran.out.contains(&named), "{named}: {}", ran.out);
            drop(delete);
        }
    }

    #[tokio::test]
    async fn a_key_that_is_empty_is_none() {
        let empty = Some(String::new());
        let (status, told) =
            init("http://127.0.0.1:1", |args| args.admin_key = empty).await.error();
        assert_eq!(status, ExitStatus::Usage);
        assert!(told.contains("the admin key is empty"), "{told}");
        let of_nothing = Some("os.environ/EMPTY".to_owned());
        let (status, told) =
            init("http://127.0.0.1:1", |args| args.admin_key = of_nothing).await.error();
        assert_eq!(status, ExitStatus::Usage);
        assert!(told.contains("EMPTY, which --admin-key refers to, is set to nothing"), "{told}");
    }

    #[tokio::test]
    async fn an_unknown_gateway_gets_the_nearest_adapter_and_is_told_so() {
        let server = MockServer::start().await;
        let models = json!({"data": [{"id": "a"}, {"id": "b"}]});
        Mock::given(path("/v1/models"))
            .respond_with(ResponseTemplate::new(200).set_body_json(models))
            .mount(&server)
            .await;
        let ran = init(&server.uri(), |args| args.admin_key = Some(KEY.to_owned())).await;
        assert_eq!(ran.described().adapter, "litellm");
        assert!(ran.file.unwrap().contains("No adapter knows this gateway"));
        assert!(ran.out.contains("of no use: a team cannot be made"), "{}", ran.out);
    }

    #[tokio::test]
    async fn a_page_is_no_gateway() {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .respond_with(ResponseTemplate::new(200).set_body_raw("<html>", "text/html"))
            .mount(&server)
            .await;
        let (status, told) = init(&server.uri(), |_| ()).await.error();
        assert_eq!(status, ExitStatus::Setup);
        assert!(told.contains("is no gateway") && told.contains("text/html"), "{told}");
        let (status, told) = init("http://127.0.0.1:1", |_| ()).await.error();
        assert_eq!(status, ExitStatus::Setup);
        assert!(told.contains("nothing answers at http://127.0.0.1:1"), "{told}");
    }

    #[tokio::test]
    async fn replicas_are_of_one_gateway() {
        let one = gateway("LiteLLM API", &["gpt"]).await;
        let other = gateway("LiteLLM API", &["gpt"]).await;
        let both = init(&one.uri(), |args| args.replica = vec![other.uri()]).await;
        let Reach::Attached(attached) = both.described().reach else { panic!("attached") };
        assert_eq!(attached.replicas.len(), 2);
        let stranger = MockServer::start().await;
        Mock::given(path("/v1/models"))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({"data": []})))
            .mount(&stranger)
            .await;
        let differ = init(&one.uri(), |args| args.replica = vec![stranger.uri()]).await;
        assert!(differ.error().1.contains("give replicas of one gateway"));
    }

    #[tokio::test]
    async fn what_is_wrong_on_the_command_line_is_told_before_anything_is_asked() {
        for (url, said) in [
            ("localhost:4000", "is not a URL; write one as in"),
            ("http://gateway.example", "--allow-host gateway.example"),
            ("http://u:p@127.0.0.1:1", "give the key with --admin-key"),
        ] {
            let (status, told) = init(url, |_| ()).await.error();
            assert_eq!(status, ExitStatus::Usage, "{told}");
            assert!(told.contains(said), "{told}");
        }
        let absent = Some("os.environ/NO_SUCH".to_owned());
        let (status, told) =
            init("http://127.0.0.1:1", |args| args.admin_key = absent).await.error();
        assert_eq!(status, ExitStatus::Usage);
        assert!(told.contains("the environment has no NO_SUCH"), "{told}");
    }

    #[tokio::test]
    async fn a_file_that_is_there_is_written_over_only_where_somebody_says_so() {
        let server = gateway("LiteLLM API", &["gpt"]).await;
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("mine.toml");
        fs::write(&place, "mine").unwrap();
        let ran = init(&server.uri(), |args| args.out.clone_from(&place)).await;
        assert_eq!(ran.file.as_deref(), Some("mine"));
        let error = ran.status.unwrap_err();
        assert_eq!(error.status(), ExitStatus::Usage);
        assert!(error.told().contains("--force"), "{}", error.told());
        let forced = init(&server.uri(), |args| {
            args.out.clone_from(&place);
            args.force = true;
        })
        .await;
        forced.described();
    }
}
