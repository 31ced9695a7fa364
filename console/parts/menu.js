// A menu of choices that opens below its button, and closes with Escape or a click elsewhere.

import { html, useEffect, useRef } from "../vendor/preact.js";

/**
 * @param {object} props
 * @param {string} props.label
 * @param {number} props.count Number of choices that are made.
 */
export function Menu({ label, count, children }) {
    const element = useRef(null);
    useEffect(() => {
        const close = ({ target }) => {
            if (!element.current.contains(target)) element.current.open = false;
        };
        document.addEventListener("pointerdown", close);
        return () => document.removeEventListener("pointerdown", close);
    }, []);
    const leave = ({ key }) => {
        if (key !== "Escape" || !element.current.open) return;
        element.current.open = false;
        element.current.querySelector("summary").focus();
    };
    return html`<details ref=${element} class="columns-menu" onKeyDown=${leave}>
        <summary>${label} <span class="muted">${count}</span></summary>
        <div class="menu">${children}</div></details>`;
}
