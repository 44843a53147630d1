// Before anything is painted: inside Airflow's pages the board is as dark as they are.
"use strict";
(() => {
  const root = document.documentElement;
  if (window.parent === window) return;
  root.classList.add("framed");
  let host;
  try {
    host = window.parent.document.documentElement;
  } catch {
    return; // Another origin: the system's colours.
  }
  const follow = () => {
    const dark = host.classList.contains("dark") || host.dataset.theme === "dark";
    const light = host.classList.contains("light") || host.dataset.theme === "light";
    if (dark || light) root.dataset.theme = dark ? "dark" : "light";
  };
  follow();
  new MutationObserver(follow).observe(host, { attributes: true, attributeFilter: ["class", "data-theme"] });
})();
