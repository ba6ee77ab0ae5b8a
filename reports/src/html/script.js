"use strict";

// Filters the table of checks, copies commands, unfolds everything for a printer. The page says all
// of it without this script, which therefore also brings its own controls out of hiding.

const filters = document.getElementById("filters");
if (filters) {
  const rows = document.querySelectorAll("#checks > tr");
  const shown = document.getElementById("shown");
  const filter = () => {
    const verdict = filters.elements.verdict.value;
    const family = filters.elements.family.value;
    let count = 0;
    for (const row of rows) {
      const chosen =
        (verdict === "" || row.dataset.verdict === verdict) &&
        (family === "" || row.dataset.family === family);
      row.hidden = !chosen;
      count += chosen ? 1 : 0;
    }
    shown.textContent = `${count} of ${rows.length} checks`;
  };
  filters.addEventListener("change", filter);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.hidden = false;
  filter();
}

for (const button of document.querySelectorAll("button[data-copies]")) {
  const code = document.getElementById(button.dataset.copies);
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      // A page that may not write the clipboard can still select what is to be copied.
      window.getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => {
      button.textContent = "Copy";
    }, 2000);
  });
}

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) {
    details.open = true;
  }
});
