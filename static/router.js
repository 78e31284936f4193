// Hash routes: `#/jobs/job_…` survives a reload and the back button.
//
// A view is `render(outlet, {id, query})`; it fills the outlet and returns a cleanup function.

import { fill } from './shared/dom.js';

let leave = null;
let shown = null;

/** The current route: `{section, id, query}`. */
export function currentRoute() {
  const [, route = '', search = ''] = /^#\/([^?]*)\??(.*)$/.exec(location.hash) ?? [];
  const [section = '', id = ''] = route.split('/').map(decodePart);
  return { section, id, query: new URLSearchParams(search) };
}

function decodePart(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}

/** Navigates within this page: `goTo(['jobs', id])`. */
export function goTo(route, query = {}) {
  const search = new URLSearchParams(query).toString();
  location.hash = `#/${route.map(encodeURIComponent).join('/')}${search ? `?${search}` : ''}`;
}

/** Starts routing: `choose(route)` returns the view of a route, or null to go to `home`. */
export function startRouter(outlet, home, choose) {
  const show = () => {
    if (location.hash && !location.hash.startsWith('#/')) return;
    const route = currentRoute();
    const view = choose(route);
    if (!view) {
      location.replace(`#/${home}`);
      return;
    }
    leave?.();
    fill(outlet);
    for (const item of document.querySelectorAll('nav [data-section]')) {
      if (item.dataset.section === route.section) item.setAttribute('aria-current', 'page');
      else item.removeAttribute('aria-current');
    }
    leave = view(outlet, route);
    const title = outlet.querySelector('h1');
    document.title = `${title?.textContent ?? 'finetuned'} · finetuned`;
    // On the first load the focus stays where the browser puts it; after that, it moves to the heading of the new view.
    if (shown !== null) {
      title?.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    shown = location.hash;
  };
  addEventListener('hashchange', show);
  show();
}
