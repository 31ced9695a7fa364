// Values with subscribers: the state that several components share.

import { useEffect, useState } from "../vendor/preact.js";

/**
 * Returns a value that components can subscribe to.
 * @template T
 * @param {T} value
 */
export function createStore(value) {
    const listeners = new Set();
    return {
        get: () => value,
        set(next) {
            if (next === value) return;
            value = next;
            for (const listener of [...listeners]) listener(next);
        },
        subscribe(listener) {
            listeners.add(listener);
            return () => listeners.delete(listener);
        },
    };
}

/** Returns the value of a store, and renders the component again when the value changes. */
export function useStore(store) {
    const [value, setValue] = useState(store.get);
    useEffect(() => {
        setValue(store.get);
        return store.subscribe((next) => setValue(() => next));
    }, [store]);
    return value;
}

/** Returns an item of a storage, or null if there is none or the browser has switched storage off. */
export function readStorage(storage, name) {
    try {
        return window[storage].getItem(name);
    } catch {
        return null;
    }
}

/** Writes an item of a storage, or removes the item if `value` is null. */
export function writeStorage(storage, name, value) {
    try {
        if (value === null) window[storage].removeItem(name);
        else window[storage].setItem(name, value);
    } catch {
        // The value lasts until the page is closed.
    }
}
