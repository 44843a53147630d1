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
  // What is there is changed where it differs, not put in place anew: what people type, opened, marked and stand on stays.
  const own = new Set(["tabindex", "data-sent"]); // set by this script
  const ids = (root) => {
    const found = new Map();
    for (const one of root.querySelectorAll("[id]")) {
      for (let at = one; at !== root; at = at.parentNode) found.set(at, (found.get(at) ?? new Set()).add(one.id));
    }
    return found;
  };
  const attributes = (old, now) => {
    const kept = (name) =>
      own.has(name) || (name === "open" && old.matches("details")) || (name === "value" && old.matches("input:not([type=hidden])"));
    for (const { name } of [...old.attributes]) if (!now.hasAttribute(name) && !kept(name)) old.removeAttribute(name);
    for (const { name, value } of now.attributes) {
      if (old.getAttribute(name) !== value && !kept(name)) old.setAttribute(name, value);
    }
  };
  const children = (old, now, oldIds, nowIds) => {
    // Who has an id within is known by it; who has none, by place among those of its name.
    const named = new Map();
    const nameless = new Map();
    for (const one of old.childNodes) {
      for (const id of oldIds.get(one) ?? []) named.set(id, one);
      if (oldIds.has(one)) continue;
      if (!nameless.has(one.nodeName)) nameless.set(one.nodeName, []);
      nameless.get(one.nodeName).push(one);
    }
    const used = new Set();
    const pairs = [...now.childNodes].map((one) => {
      const known = nowIds.has(one)
        ? [...nowIds.get(one)].map((id) => named.get(id)).find((same) => same && same.nodeName === one.nodeName && !used.has(same))
        : nameless.get(one.nodeName)?.shift();
      if (known) used.add(known);
      return [known, one];
    });
    for (const one of [...old.childNodes]) if (!used.has(one)) one.remove();
    let place = old.firstChild;
    for (const [known, one] of pairs) {
      if (known && known === place) place = place.nextSibling;
      else old.insertBefore(known ?? one, place);
      if (!known) continue;
      if (known.nodeType !== Node.ELEMENT_NODE) {
        if (known.data !== one.data) known.data = one.data;
        continue;
      }
      attributes(known, one);
      if (!known.matches("textarea")) children(known, one, oldIds, nowIds);
    }
  };
  // A click or Enter sends what its form showed when the reader last looked at it, never what has come into it since. A form
  // that is about something else now sends nothing, and keeps the old values (so that the server would refuse them), until
  // the reader says that they have looked again. Forms are known by their action.
  const looked = new Map(); // what each was about when the reader last looked
  const shown = new Map(); // what each is about on the screen
  const moving = new Map(); // those that have just changed: a click may have been meant for what was there before
  const MOVES_FOR = 500; // milliseconds after they are painted; as long as a double click may take
  let last = null; // the newest answer, to be put in place again

  const action = (form) => form.getAttribute("action");
  const sent = (form) => [...form.querySelectorAll("input[type=hidden]:not([name=token])")];
  const fields = (form) => [...form.querySelectorAll("textarea, input:not([type=hidden])")];
  const buttons = (form) => [...form.querySelectorAll("button[type=submit]")];
  const about = (form) => JSON.stringify([...sent(form), ...buttons(form)].map(({ name, value }) => [name, value]));
  const same = (form, root) => root.querySelector(`form[action="${CSS.escape(action(form))}"]`);
  const settle = (form) => {
    const [key, move] = [action(form), Symbol("move")];
    moving.set(key, move);
    const end = () => {
      if (moving.get(key) !== move) return;
      moving.delete(key);
      put(last.cloneNode(true));
    };
    // Frames are drawn only where somebody sees them: in a hidden tab this begins when it is shown again.
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(end, MOVES_FOR)));
  };
  const still = (form) => {
    for (const button of buttons(form)) {
      button.disabled = true;
      button.setAttribute("autocomplete", "off"); // Firefox would keep it disabled when the page is loaded again
    }
  };
  const note = (form, text, confirm) => {
    const box = document.createElement("div");
    box.id = "changed-" + fields(form)[0].id;
    box.className = "changed";
    box.tabIndex = -1;
    const words = box.appendChild(document.createElement("p"));
    words.setAttribute("role", "status");
    words.textContent = text;
    if (confirm) {
      const button = box.appendChild(document.createElement("button"));
      button.type = "button";
      button.disabled = moving.has(action(form));
      button.textContent = confirm;
    }
    form.querySelector(".changed")?.remove();
    form.prepend(box);
  };
  const hold = (form) => {
    const now = about(form);
    const old = same(form, live);
    if (shown.get(action(form)) !== now || !old) {
      settle(form);
      // New buttons, not the old ones with another meaning: neither the focus nor half a click goes over to them.
      old?.querySelectorAll("button").forEach((one) => one.remove());
    }
    shown.set(action(form), now);
    if (!looked.has(action(form))) {
      looked.set(action(form), now);
      remember();
    }
    const open = buttons(form).some((one) => !one.disabled);
    if (moving.has(action(form))) still(form);
    const before = looked.get(action(form));
    if (before === now) return;
    const values = new Map(JSON.parse(before));
    for (const one of sent(form)) one.setAttribute("value", values.get(one.name) ?? "");
    still(form);
    note(form, body.dataset.changed, open && body.dataset.looked);
  };
  // A form that is gone stays for what is written in it.
  const keep = (old, root) => {
    shown.delete(action(old));
    if (!fields(old).some((one) => one.value.trim() || one === document.activeElement)) return;
    const place = old.parentNode.cloneNode(false);
    place.removeAttribute("aria-labelledby");
    place.classList.remove("ask");
    for (const one of old.parentNode.children) if (one === old || one.matches("summary")) place.append(one.cloneNode(true));
    const form = same(old, place);
    still(form);
    note(form, body.dataset.gone);
    buttons(old).forEach((one) => one.disabled || one.remove());
    const summary = root.querySelector(".summary");
    if (summary) summary.after(place);
    else root.querySelector(".content").prepend(place);
  };
  const carry = (root) => {
    for (const old of [...live.querySelectorAll("form")].reverse()) if (!same(old, root)) keep(old, root);
    const told = live.querySelector(".question .refusal");
    if (told && !root.querySelector(".question .refusal")) {
      // It is said once, in answer to what was sent: it stays until the page is left.
      let question = root.querySelector(".question");
      if (!question) {
        question = document.createElement("section");
        question.className = "question broken";
        root.querySelector(".content").prepend(question);
      }
      question.insertBefore(told.cloneNode(true), question.querySelector("form"));
    }
  };
  const put = (root) => {
    const focus = live.contains(document.activeElement) ? document.activeElement : null;
    const form = focus?.closest("form");
    root.querySelectorAll("form").forEach(hold);
    carry(root);
    children(live, root, ids(live), ids(root));
    age();
    reachable();
    if (!focus || document.activeElement === focus) return;
    // It was moved, or its like stands elsewhere now, or it is gone from its form.
    let to = focus.isConnected ? focus : focus.id && document.getElementById(focus.id);
    if (!to && form?.isConnected) {
      form.tabIndex = -1;
      to = form.querySelector(".changed") ?? form;
    }
    to?.focus?.({ preventScroll: true });
  };
  // Who comes back to a page (by the browser's Back, or to a tab that it had discarded) finds there what they wrote, put into
  // a page that is new: they looked at the one before.
  const remember = () => history.replaceState({ looked: [...looked] }, "");
  const begin = () => {
    const back = document.wasDiscarded || performance.getEntriesByType("navigation")[0]?.type === "back_forward";
    const before = (back && history.state?.looked) || [];
    for (const [key, seen] of before) looked.set(key, seen);
    for (const form of live.querySelectorAll("form")) {
      shown.set(action(form), about(form));
      if (!looked.has(action(form))) looked.set(action(form), about(form));
    }
    remember();
    if (!before.length) return;
    last = live.cloneNode(true);
    put(last.cloneNode(true));
  };
  live?.addEventListener("click", (event) => {
    const form = event.target.closest(".changed button")?.form;
    if (!form) return;
    looked.set(action(form), shown.get(action(form)));
    remember();
    delete form.dataset.sent;
    settle(form);
    put(last.cloneNode(true));
  });
  let fetching = null;
  const refresh = async () => {
    if (fetching) {
      fetching.again = true;
      return;
    }
    fetching = { again: false };
    try {
      const answer = await fetch(live.dataset.part, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      const other = answer.ok && answer.headers.get("Board-Reader") !== body.dataset.reader;
      if (answer.status === 401 || other) {
        location.reload(); // Logged out: the page itself leads to the login. Or somebody else's: what is written is not theirs.
        return;
      }
      if (!answer.ok) return;
      const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
      localise(parsed);
      last = parsed.body;
      put(last.cloneNode(true));
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
    window.addEventListener("pageshow", (event) => event.persisted && (listen(), refresh())); // back, as it was left
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
  if (live) begin();
  toHere();
  window.addEventListener("resize", reachable);
  document.addEventListener("toggle", reachable, true); // a fold was opened
  setInterval(age, 15000);
})();
