// JSON pointers (RFC 6901): how the server refers to a place in a document, and how the job form finds it. Pure functions.

/** Sets the value at a pointer, creating the objects on the way. */
export function setAt(document, pointer, value) {
  const names = namesOf(pointer);
  const last = names.pop();
  let place = document;
  for (const name of names) place = place[name] ??= {};
  place[last] = value;
}

/** The value at a pointer, or undefined. */
export function getAt(document, pointer) {
  return namesOf(pointer).reduce((place, name) => place?.[name], document);
}

/** Removes the value at a pointer, if there is one. */
export function removeAt(document, pointer) {
  const names = namesOf(pointer);
  const last = names.pop();
  const place = names.reduce((each, name) => each?.[name], document);
  if (place) delete place[last];
}

/** Whether `other` is `pointer` or inside it. */
export function contains(pointer, other) {
  return other === pointer || other.startsWith(`${pointer}/`);
}

/** `[pointer, value]` of every value in a document. An object at a pointer in `whole` counts as one value, as lists do. */
export function valuesOf(document, whole = [], pointer = '') {
  return Object.entries(document).flatMap(([name, value]) => {
    const place = `${pointer}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    return isObject(value) && !whole.includes(place) ? valuesOf(value, whole, place) : [[place, value]];
  });
}

/** A copy without nulls and empty objects. */
export function withoutNulls(document) {
  const said = Object.entries(document)
    .map(([name, value]) => [name, isObject(value) ? withoutNulls(value) : value])
    .filter(([, value]) => value !== null && !(isObject(value) && Object.keys(value).length === 0));
  return Object.fromEntries(said);
}

function namesOf(pointer) {
  return pointer.slice(1).split('/').map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
