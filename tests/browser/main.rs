//! The report of a run in a browser: it renders, its controls work, it asks the network for nothing, and
//! whoever reads it by ear or on a phone finds their way.
//!
//! Behind the feature `browser`, for it needs what few machines have:
//!
//! - `chromium` and `chromedriver` on PATH (Debian: `chromium`, `chromium-driver`); others are named by
//!   `GAUNTLET_CHROMIUM` and `GAUNTLET_CHROMEDRIVER`;
//! - axe-core, which judges accessibility: `npm install --prefix target/axe axe-core@4`, or any copy of
//!   its `axe.min.js` that `GAUNTLET_AXE` names.
//!
//! Screenshots and a PDF are left in `target/screenshots/`. The runs shown are stored in
//! `tests/browser/runs/`, one report each.

mod page;
mod webdriver;

use serde_json::{Value, json};

use page::{RUNS, View, checks, opened, screenshots};

/// Whatever the page says, it says where it is wide, dark, and on a phone.
#[tokio::test]
async fn every_run_is_shown_without_a_complaint_wherever_it_is_read() {
    let axe = page::axe();
    for run in RUNS {
        for view in View::ALL {
            let browser = opened(run, view).await;
            let about = format!("{run}, {view:?}");
            let title = browser.run("return document.title", &[]).await;
            assert!(
                title.as_str().is_some_and(|title| title.contains(": run ")),
                "{about}: {title}"
            );
            // Nothing is wider than the window but what scrolls within its own frame.
            let wide =
                browser.run("return [document.documentElement.scrollWidth, innerWidth]", &[]).await;
            assert!(
                wide[0].as_u64() <= wide[1].as_u64(),
                "{about} is wider than its window: {wide}"
            );
            browser.run(&axe, &[]).await;
            let found =
                browser.run_async("axe.run().then(arguments[arguments.length - 1])", &[]).await;
            assert_eq!(serious(&found), Vec::<String>::new(), "{about}");
            assert!(
                found["passes"].as_array().is_some_and(|passes| passes.len() > 10),
                "{about}: axe looked at nothing: {found}"
            );
            browser.screenshot(&screenshots().join(format!("{run}-{}.png", view.name()))).await;
            assert_eq!(browser.complaints().await, Vec::<String>::new(), "{about}");
            assert_eq!(browser.requests_beyond_the_page().await, Vec::<String>::new(), "{about}");
            browser.close().await;
        }
    }
}

/// What axe-core calls serious or critical, with where it is.
fn serious(found: &Value) -> Vec<String> {
    let violations = found["violations"].as_array().expect("axe tells of violations");
    let grave =
        |violation: &&Value| matches!(violation["impact"].as_str(), Some("serious" | "critical"));
    let told =
        |violation: &Value| format!("{}: {}", violation["id"], violation["nodes"][0]["html"]);
    violations.iter().filter(grave).map(told).collect()
}

#[tokio::test]
async fn filters_leave_what_was_chosen() {
    let browser = opened("failing", View::Light).await;
    let choose = "
        const select = document.querySelector(`#filter-${arguments[0]}`);
        select.value = arguments[1];
        select.dispatchEvent(new Event('change', { bubbles: true }));
        return [
          [...document.querySelectorAll('#checks > tr:not([hidden])')].map(row => row.dataset.verdict),
          document.querySelectorAll('#checks > tr').length,
          document.getElementById('shown').textContent,
        ];";
    let all = browser.run(choose, &[json!("verdict"), json!("")]).await;
    let count = all[1].as_u64().expect("a count");
    assert!(count > 3, "{all}");
    assert_eq!(all[0].as_array().map(Vec::len), usize::try_from(count).ok());
    let failed = browser.run(choose, &[json!("verdict"), json!("fail")]).await;
    assert_eq!(failed[0], json!(["fail"]));
    assert_eq!(failed[2], json!(format!("1 of {count} checks")));
    // Of another family there is no failure.
    let none = browser.run(choose, &[json!("family"), json!("obs")]).await;
    assert_eq!(none[0], json!([]));
    browser.close().await;
}

#[tokio::test]
async fn a_command_is_copied_by_its_button() {
    let browser = opened("failing", View::Light).await;
    browser.allow(&["clipboardReadWrite", "clipboardSanitizedWrite"]).await;
    let failed = checks("failing").into_iter().find(|check| check["verdict"] == "fail");
    let failed = failed.expect("a check failed");
    for (id, kept) in [("replay-1", &failed["replay"]), ("script-1", &failed["script"]["text"])] {
        let copied = browser
            .run_async(
                "const [id, done] = arguments;
                 const button = document.querySelector(`[data-copies=${id}]`);
                 for (let it = button; it; it = it.parentElement) { if (it.tagName === 'DETAILS') it.open = true; }
                 new MutationObserver(async () => done([
                   button.textContent,
                   await navigator.clipboard.readText(),
                 ])).observe(button, { childList: true });
                 button.click();",
                &[json!(id)],
            )
            .await;
        assert_eq!(copied[0], "Copied", "{copied}");
        assert!(kept.as_str().is_some_and(|text| !text.is_empty()), "{failed}");
        assert_eq!(copied[1], *kept);
    }
    browser.close().await;
}

#[tokio::test]
async fn lanes_and_their_names_are_legible_on_a_phone() {
    let browser = opened("failing", View::Phone).await;
    let lanes = browser
        .run(
            "const box = it => { const b = it.getBoundingClientRect(); return [b.left, b.right, b.height]; };
             const picture = document.querySelector('.lanes');
             const first = picture.querySelector('ol .line');
             return {
               heads: [...picture.querySelectorAll('.heads .rail > *')].map(it =>
                 [it.textContent, ...box(it), parseFloat(getComputedStyle(it).fontSize)]),
               words: box(first.querySelector('.what')),
               sticky: getComputedStyle(picture.querySelector('.heads')).position,
               width: innerWidth,
             };",
            &[],
        )
        .await;
    let width = lanes["width"].as_f64().expect("a width");
    let heads = lanes["heads"].as_array().expect("names of lanes");
    assert!(heads.len() >= 4, "{lanes}");
    for head in heads {
        let of = |at: usize| head[at].as_f64().expect("a number");
        assert!(of(1) >= 0.0 && of(2) <= width && of(3) > 0.0 && of(4) >= 12.0, "{head}");
    }
    let words = &lanes["words"];
    let room = words[1].as_f64().expect("right") - words[0].as_f64().expect("left");
    assert!(room >= 200.0, "{room} px are left for words: {lanes}");
    assert_eq!(lanes["sticky"], "sticky");
    browser.close().await;
}

#[tokio::test]
async fn paper_shows_what_the_screen_folds() {
    let browser = opened("failing", View::Light).await;
    let folded = "return document.querySelectorAll('details:not([open])').length";
    assert!(browser.run(folded, &[]).await.as_u64() > Some(0));
    let pdf = browser.pdf().await;
    assert!(pdf.starts_with(b"%PDF-"), "{} bytes", pdf.len());
    std::fs::write(screenshots().join("failing-paper.pdf"), &pdf)
        .expect("target can be written to");
    assert_eq!(browser.run(folded, &[]).await, 0);
    browser.close().await;
}
