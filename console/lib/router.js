// Addresses: the page and all of its filters are in the fragment, `#/churn?risk=high`. Fragments are not sent
// to the service, so expressions and ids do not reach its logs through an address.

import { useMemo } from "../vendor/preact.js";
import { createStore, useStore } from "./store.js";

/**
 * @typedef {object} Route
 * @property {string} page First part of the path, empty for the overview.
 * @property {string[]} rest Further parts.
 * @property {URLSearchParams} query
 */

/** @returns {Route} */
function parse(hash) {
    const [path, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
    const [page, ...rest] = path.split("/").map(decode);
    return { page, rest: rest.filter(Boolean), query: new URLSearchParams(query) };
}

function decode(part) {
    try {
        return decodeURIComponent(part);
    } catch {
        return part;
    }
}

export const route = createStore(parse(location.hash));
window.addEventListener("hashchange", () => route.set(parse(location.hash)));

/**
 * Returns the address of a page.
 * @param {string[]} path
 * @param {Record<string, unknown>} [query] Empty values are left out.
 */
export function href(path, query = {}) {
    const filled = Object.entries(query).filter(
        ([, value]) => value !== null && value !== undefined && value !== "",
    );
    const search = new URLSearchParams(filled.map(([name, value]) => [name, String(value)])).toString();
    return `#/${path.map(encodeURIComponent).join("/")}${search ? `?${search}` : ""}`;
}

/** Opens an address, as a new entry of the history. */
export function go(path, query) {
    location.hash = href(path, query);
}

/** Returns the query of the address and a function that changes parts of it in place. */
export function useQuery() {
    const { page, rest, query } = useStore(route);
    const values = useMemo(() => Object.fromEntries(query), [query]);
    const setQuery = (changes) => {
        const address = href([page, ...rest], { ...Object.fromEntries(route.get().query), ...changes });
        history.replaceState(null, "", address);
        route.set(parse(address));
    };
    return [values, setQuery];
}
