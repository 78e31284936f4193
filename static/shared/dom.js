// Builds and updates elements. Everything that a caller passes as text ends up as text. Class names and file names come from untrusted
// archives, so no other module creates elements in any other way, and nothing on this page ever parses HTML.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * An HTML element. `onclick`-like properties become listeners, `value` is set last (a select needs its options first), `true`
 * gives an empty attribute, `false`, `null` and `undefined` none. Children are elements, strings, or lists of them.
 */
export function h(tag, properties = {}, ...children) {
  return build(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function svg(tag, properties = {}, ...children) {
  return build(document.createElementNS(SVG, tag), properties, children);
}

function build(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name !== 'value') setAttribute(node, name, value);
  }
  append(node, children);
  if (properties.value !== undefined) node.value = properties.value;
  return node;
}

export function setAttribute(node, name, value) {
  if (value === false || value === null || value === undefined) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? '' : String(value));
}

function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
}

/** Replaces an element's children. */
export function fill(node, ...children) {
  node.replaceChildren();
  append(node, children);
}

/** Sets the text only if it differs, so that selections and screen readers are not disturbed. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Keeps the children of `container` in sync with a list of objects, reusing the row of each id so that focus and scrolling are kept.
 * `make(item)` gives `{node, update(item)}`. Returns the function that takes the new list.
 */
export function keyedList(container, make) {
  const rows = new Map();
  return (items) => {
    const wanted = new Set(items.map((item) => item.id));
    for (const [id, row] of rows) {
      if (!wanted.has(id)) {
        row.node.remove();
        rows.delete(id);
      }
    }
    let place = container.firstElementChild;
    for (const item of items) {
      let row = rows.get(item.id);
      if (!row) {
        row = make(item);
        rows.set(item.id, row);
      }
      row.update(item);
      if (row.node === place) place = place.nextElementSibling;
      else container.insertBefore(row.node, place);
    }
  };
}

/** Announces a text to screen readers. */
export function announce(text) {
  const announcer = document.getElementById('announcer');
  announcer.append(h('p', {}, text));
  while (announcer.childElementCount > 5) announcer.firstElementChild.remove();
}
