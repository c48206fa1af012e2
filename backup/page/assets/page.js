// Keeps what is marked data-live up to date. Without this script, or where the
// agent cannot be heard, pages are as they were when they were asked for.
"use strict";
(() => {
	const address = document.body.dataset.events;
	if (!address || !window.EventSource) return;
	let busy = false, again = false;
	const refresh = async () => {
		if (busy) { again = true; return; }
		busy = true;
		try {
			const answer = await fetch(location.href, { headers: { "X-Tidemark-Live": "1" }, cache: "no-store" });
			if (answer.status === 401) { location.reload(); return; }
			if (!answer.ok) return;
			const next = new DOMParser().parseFromString(await answer.text(), "text/html");
			for (const old of document.querySelectorAll("[data-live]")) {
				const now = next.getElementById(old.id);
				if (!now || now.outerHTML === old.outerHTML) continue;
				const focused = old.contains(document.activeElement) ? document.activeElement : null;
				if (focused && focused.matches("input, textarea, select")) continue; // somebody types there
				const id = focused && focused.id;
				old.replaceWith(document.adoptNode(now));
				if (id) document.getElementById(id)?.focus();
			}
		} catch {
			// The agent has ended, or is being started again: the stream says when it is there.
		} finally {
			busy = false;
			if (again) { again = false; refresh(); }
		}
	};
	const events = new EventSource(address);
	events.addEventListener("change", refresh);
	addEventListener("pagehide", () => events.close());
})();

// Arrow keys go from day to day of the calendar, as far as there are points.
document.addEventListener("keydown", (event) => {
	const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -7, ArrowDown: 7 }[event.key];
	const cell = document.activeElement?.closest?.(".calendar td");
	if (!step || !cell || event.altKey || event.ctrlKey || event.metaKey) return;
	const cells = [...document.querySelectorAll(".calendar td")];
	for (let at = cells.indexOf(cell) + step; at >= 0 && at < cells.length; at += step) {
		const link = cells[at].querySelector("a");
		if (link) {
			link.focus();
			event.preventDefault();
			return;
		}
	}
});
