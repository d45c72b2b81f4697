// The colours of the page, light or dark: those of the system, until the user chooses. It runs before the page is drawn.

{
  const KEY = "vitrine-colours";
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);

  try {
    if (localStorage.getItem(KEY)) root.dataset.theme = localStorage.getItem(KEY);
  } catch {
    // the browser keeps nothing for this page: the choice holds until it is closed
  }

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const show = () => button.setAttribute("aria-pressed", String(dark()));
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      show();
      try {
        localStorage.setItem(KEY, root.dataset.theme);
      } catch {
        // as above
      }
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
    show();
  });
}
