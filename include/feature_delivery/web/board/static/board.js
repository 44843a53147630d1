// The board works without this. It adds: live updates, local times, moving by arrow keys, links out of Airflow's frame.
"use strict";
(() => {
  const body = document.body;
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

  // Times: in the reader's own zone; durations go on.
  const localise = (root) => {
    const format = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
    for (const time of root.querySelectorAll("time[datetime]:not(.since)")) {
      const at = new Date(time.dateTime);
      if (!time.title) time.title = time.textContent;
      time.textContent = format.format(at);
    }
  };
  const duration = (seconds) => {
    const parts = [];
    let rest = Math.max(0, Math.floor(seconds));
    for (const [unit, size] of units) {
      const number = Math.floor(rest / size);
      rest -= number * size;
      if (number && !(parts.length && size === 1)) parts.push(number + body.dataset[unit].replace(" ", "\u00a0"));
      else if (parts.length) break;
      if (parts.length === 2) break;
    }
    return parts.join("\u00a0");
  };
  const age = () => {
    for (const time of document.querySelectorAll("time.since")) {
      const text = duration(Math.max(1, (Date.now() - new Date(time.dateTime).getTime()) / 1000));
      if (text && text !== time.textContent) time.textContent = text;
    }
  };

  // What scrolls can be scrolled by keys.
  const reachable = () => {
    for (const one of document.querySelectorAll(".scroll, .line, pre")) {
      if (one.scrollWidth > one.clientWidth || one.scrollHeight > one.clientHeight) one.tabIndex = 0;
      else one.removeAttribute("tabindex");
    }
  };

  // Live updates: one stream tells that something changed; then the part that changes is fetched.
  const live = document.getElementById("live");
  const mark = document.getElementById("live-mark");
  const show = (on) => {
    if (!mark) return;
    mark.hidden = false;
    mark.classList.toggle("on", on);
    const text = on ? mark.dataset.on : mark.dataset.off;
    if (mark.textContent !== text) mark.textContent = text;
  };
  // The line of stations shows where the feature stands, and stays where it was moved to.
  const line = () => document.querySelector(".line");
  const toHere = () => {
    const frame = line()?.getBoundingClientRect();
    const below = frame && line().querySelector(".here")?.getBoundingClientRect().bottom - frame.bottom + 60;
    if (below > 0) line().scrollTop += below;
  };
  const keep = () => ({
    line: line()?.scrollTop,
    open: new Set([...live.querySelectorAll("details[open][id]")].map((one) => one.id)),
    focus: live.contains(document.activeElement) ? document.activeElement : null,
    form: live.querySelector("form.decide:not(.glass-form)"),
    reason: document.getElementById("glass-reason")?.value,
  });
  const restore = (kept) => {
    for (const id of kept.open) {
      const found = document.getElementById(id);
      if (found) found.open = true;
    }
    if (kept.line !== undefined && line()) line().scrollTop = kept.line;
    const form = live.querySelector("form.decide:not(.glass-form)");
    const reason = document.getElementById("glass-reason");
    if (reason && kept.reason) reason.value = kept.reason;
    const old = kept.form?.querySelector("textarea");
    const now = form?.querySelector("textarea");
    if (old && now) {
      now.value = old.value;
      // The commit in question is another one now: what was written stays, and is looked at again.
      if (old.value && kept.form.dataset.subject !== form.dataset.subject) form.classList.add("changed");
    }
    if (!kept.focus) return;
    const again = kept.focus.id
      ? document.getElementById(kept.focus.id)
      : kept.focus.name && form?.querySelector(`[name="${kept.focus.name}"][value="${CSS.escape(kept.focus.value)}"]`);
    again?.focus({ preventScroll: true });
    if (again && kept.focus.selectionStart !== undefined && again.setSelectionRange) {
      again.setSelectionRange(kept.focus.selectionStart, kept.focus.selectionEnd);
    }
  };
  let fetching = null;
  const refresh = async () => {
    if (fetching) {
      fetching.again = true;
      return;
    }
    fetching = { again: false };
    try {
      const answer = await fetch(live.dataset.part, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      if (answer.status === 401) {
        location.reload(); // Logged out: the page itself leads to the login.
        return;
      }
      if (!answer.ok) return;
      const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
      localise(parsed);
      const kept = keep();
      live.replaceChildren(...parsed.body.childNodes);
      restore(kept);
      age();
      reachable();
    } catch {
      // The next change, or the next minute, tries again.
    } finally {
      const again = fetching.again;
      fetching = null;
      if (again) setTimeout(refresh, 500);
    }
  };
  let stream = null;
  const listen = () => {
    if (stream || document.hidden) return;
    stream = new EventSource(live.dataset.changes);
    stream.addEventListener("open", () => show(true));
    stream.addEventListener("changed", (event) => {
      live.dataset.changes = live.dataset.changes.replace(/revision=.*$/, "revision=" + encodeURIComponent(event.data));
      refresh();
    });
    stream.addEventListener("full", () => {
      stop();
      show(false);
    });
    stream.addEventListener("error", () => {
      if (stream?.readyState === EventSource.CLOSED) {
        stop();
        show(false);
        setTimeout(listen, 15000);
      } else if (stream) {
        // Streams end by themselves now and then; only a long silence is worth a word.
        setTimeout(() => show(stream?.readyState === EventSource.OPEN), 5000);
      }
    });
  };
  const stop = () => {
    stream?.close();
    stream = null;
  };
  if (live?.dataset.changes) {
    // A hidden tab listens to nothing: browsers allow six connections to a server, over all tabs.
    document.addEventListener("visibilitychange", () => (document.hidden ? stop() : (listen(), refresh())));
    window.addEventListener("pagehide", stop);
    listen();
    setInterval(() => document.hidden || refresh(), 60000);
  }

  // In Airflow's frame a link may neither open a tab nor leave the frame: the page around it does so.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-out], a[data-airflow]");
    if (!link || window.parent === window || event.defaultPrevented) return;
    try {
      const outside = window.parent.document.createElement("a");
      outside.href = link.href;
      if ("out" in link.dataset) {
        outside.target = "_blank";
        outside.rel = "noopener noreferrer";
      }
      event.preventDefault();
      outside.click();
    } catch {
      // Another origin: the browser does what it may.
    }
  });

  // Two clicks are one decision.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("form.decide")) return;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
    setTimeout(() => delete form.dataset.sent, 10000);
  });

  // Filters apply when chosen; the button is for those without this script.
  for (const select of document.querySelectorAll("form.filters select")) {
    select.addEventListener("change", () => select.form.requestSubmit());
  }
  for (const button of document.querySelectorAll("form.filters button[type=submit]")) button.classList.add("hidden-by-script");

  // The language keeps the rest of the address.
  for (const link of document.querySelectorAll("a[data-language]")) {
    const address = new URL(location.href);
    address.searchParams.set("lang", link.dataset.language);
    address.searchParams.delete("said");
    link.href = address.search + location.hash;
  }

  // Keys: "/" searches, arrows move between cards.
  const cards = (column) => [...column.querySelectorAll(".card .open")];
  const moveTo = (card) => {
    card.focus();
    card.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest?.("input, textarea, select");
    if (event.key === "/" && !typing) {
      const search = document.querySelector("input[type=search]");
      if (search) {
        event.preventDefault();
        search.focus();
        search.select();
      }
      return;
    }
    const here = event.target.closest?.(".card .open");
    if (!here || !event.key.startsWith("Arrow")) return;
    const column = here.closest(".column");
    const own = cards(column);
    const place = own.indexOf(here);
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const next = own[place + (event.key === "ArrowDown" ? 1 : -1)];
      if (next) {
        event.preventDefault();
        moveTo(next);
      }
      return;
    }
    const filled = [...document.querySelectorAll(".column")].filter((one) => cards(one).length);
    const next = filled[filled.indexOf(column) + (event.key === "ArrowRight" ? 1 : -1)];
    if (next) {
      event.preventDefault();
      const found = cards(next);
      moveTo(found[Math.min(place, found.length - 1)]);
    }
  });

  localise(document);
  age();
  reachable();
  toHere();
  window.addEventListener("resize", reachable);
  document.addEventListener("toggle", reachable, true); // a fold was opened
  setInterval(age, 15000);
})();
