// Icons: strokes on a grid of 16.

import { html } from "../vendor/preact.js";

const PATHS = {
    book: "M3 3h4a1.5 1.5 0 0 1 1 .6A1.5 1.5 0 0 1 9 3h4v9.5H9.5L8 13.5l-1.5-1H3zM8 3.6v9.9",
    check: "M3 8.5l3.2 3L13 4.5",
    close: "M4 4l8 8M12 4l-8 8",
    key: "M10.5 2.5a3 3 0 1 0-2.3 4.9L3 12.6v1.9h2.2v-1.6h1.6v-1.6h1.6l1.5-1.7a3 3 0 0 0 .6-7.1zM11 5.4v.1",
    moon: "M12.8 9.6A5.4 5.4 0 0 1 6.4 3.2a5.4 5.4 0 1 0 6.4 6.4z",
    search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10.3 10.3L13.5 13.5",
    sun:
        "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6zM8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3" +
        "M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9",
    terminal: "M2.5 3h11v10h-11zM5 6l2 2-2 2M8.5 10.2H11",
};

/** Shows an icon, which says nothing to a screen reader. */
export function Icon({ name }) {
    return html`<svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path
        d=${PATHS[name]} /></svg>`;
}
