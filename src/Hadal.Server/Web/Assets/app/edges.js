// What is wider than its place scrolls sideways; on a phone nothing says so. Its edge fades where there is more of it.
const sizes = new ResizeObserver(entries => entries.forEach(({ target }) => look(target.closest(".sideways"))));

/** Fades the edges of an element that scrolls sideways, as far as it does. */
export function fadeEdges(element) {
  element.classList.add("sideways");
  element.addEventListener("scroll", () => look(element), { passive: true });
  sizes.observe(element);
  if (element.firstElementChild) sizes.observe(element.firstElementChild);
  return element;
}

function look(element) {
  if (!element) return;
  const left = element.scrollLeft, hidden = element.scrollWidth - element.clientWidth;
  element.classList.toggle("more-left", left > 1);
  element.classList.toggle("more-right", hidden - left > 1);
}
