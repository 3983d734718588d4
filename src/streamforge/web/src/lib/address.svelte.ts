/** The address is the state of a screen: its path below /ui, and its query. */
const BASE = "/ui";

interface Place {
  path: string;
  query: URLSearchParams;
}

let place = $state.raw<Place>({ path: "/", query: new URLSearchParams() });

export const address = {
  get path(): string {
    return place.path;
  },
  get query(): URLSearchParams {
    return place.query;
  },
};

/** Where a link of the UI leads. */
export function href(path: string, query: URLSearchParams = new URLSearchParams()): string {
  return BASE + path + (query.size > 0 ? `?${query}` : "");
}

/** Go there; `back` leads here again. */
export function go(target: string): void {
  history.pushState(null, "", target);
  look();
}

/** Go on there from the screen of `path`, unless a person has left it: an answer may come late. */
export function goOn(path: string, target: string): void {
  if (place.path === path) go(target);
}

/** Be there instead of here. */
export function replace(target: string): void {
  history.replaceState(null, "", target);
  look();
}

/** Let it hold these values under a name, in the place of those that it holds; none: it holds nothing of it. */
export function hold(name: string, values: readonly (string | number)[]): void {
  const to = new URLSearchParams(place.query);
  to.delete(name);
  for (const one of values) to.append(name, String(one));
  if (to.toString() !== place.query.toString()) replace(href(place.path, to));
}

/** The page that it holds under a name, from 0; null: it holds none. */
export function pageOf(name: string): number | null {
  const page = Math.floor(Number(place.query.get(name)));
  return page >= 1 ? page - 1 : null;
}

/** Follow the address, and links of the UI without loading the page again. */
export function followAddress(): void {
  look();
  addEventListener("popstate", look);
  document.addEventListener("click", (event) => {
    const link = (event.target as Element | null)?.closest("a");
    const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!link || !plain || event.defaultPrevented || link.target || link.origin !== location.origin) return;
    if (link.pathname !== BASE && !link.pathname.startsWith(`${BASE}/`)) return;
    if (link.hash !== "") return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
}

function look(): void {
  const path = decoded(location.pathname.slice(BASE.length).replace(/\/+$/, "")) || "/";
  place = { path, query: new URLSearchParams(location.search) };
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
