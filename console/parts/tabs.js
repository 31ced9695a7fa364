// Tabs: parts of a page with addresses of their own.

import { html } from "../vendor/preact.js";
import { t } from "../lib/i18n.js";
import { href } from "../lib/router.js";

/**
 * @param {object} props
 * @param {string[]} props.path Address of the page.
 * @param {string} props.current
 * @param {string[]} props.tabs The first one is that of the bare address.
 * @param {string} props.prefix Prefix of the texts.
 */
export function Tabs({ path, current, tabs, prefix }) {
    const tab = (name) => html`<a href=${href(path, { tab: name === tabs[0] ? null : name })}
        aria-current=${name === current ? "page" : undefined}>${t(`${prefix}.tab_${name}`)}</a>`;
    return html`<nav class="tabs" aria-label=${t("tabs")}>${tabs.map(tab)}</nav>`;
}
