"use strict";
// n, p and the arrows to the right and left go from scan to scan, with the viewer or, without it, from picture to picture
const sections = [...document.querySelectorAll("section.scan")];
let at = -1;
const whenChosen = [];
function choose(index, scroll) {
  if (!sections.length) return;
  at = Math.min(Math.max(index, 0), sections.length - 1);
  sections.forEach((section, k) => section.classList.toggle("here", k === at));
  document.querySelectorAll("#scans tbody tr").forEach((row, k) => row.classList.toggle("here", k === at));
  if (whenChosen.length) whenChosen.forEach((call) => call(at));
  else if (scroll) sections[at].scrollIntoView();
}
document.addEventListener("keydown", (event) => {
  const step = {n: 1, p: -1, ArrowRight: 1, ArrowLeft: -1}[event.key];
  const typed = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName) && event.key.startsWith("Arrow");
  if (!step || typed || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  choose(at + step, true);
}, true);
