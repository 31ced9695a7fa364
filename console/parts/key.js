// The key: asked for where the service needs one, and what the key allows.

import { html, useEffect, useRef } from "../vendor/preact.js";
import { access, changeKey, useApi } from "../lib/api.js";
import { t } from "../lib/i18n.js";
import { useStore } from "../lib/store.js";
import { Icon } from "./icons.js";

const SCOPES = ["features", "pii", "match", "export", "metrics", "admin"];

/** Tells what the caller may do: the scopes, as far as the service names them. */
export function useScopes() {
    const { data } = useApi({ path: "/v1/access" });
    return data ? { name: data.key, has: (scope) => data.scopes.includes(scope), scopes: data.scopes } : null;
}

/**
 * A dialog for the key.
 * @param {{problem: import("../lib/api.js").ApiError | null, close: () => void}} props
 */
export function KeyDialog({ problem, close }) {
    const dialog = useRef(null);
    const { key } = useStore(access);
    useEffect(() => {
        dialog.current.showModal();
    }, []);
    const submit = (event) => {
        event.preventDefault();
        const text = event.currentTarget.elements.key.value.trim();
        if (!text) return;
        close();
        changeKey(text);
    };
    const forget = () => {
        close();
        changeKey(null);
    };
    return html`<dialog ref=${dialog} class="key-dialog" aria-labelledby="key-title" onClose=${close}>
        <header><h2 id="key-title">${t(problem ? "key.needed" : "key.title")}</h2>
            <button type="button" class="icon-button" aria-label=${t("close")}
                onClick=${() => dialog.current.close()}><${Icon} name="close" /></button></header>
        ${problem && key && html`<p class="bad" role="alert">${t("key.wrong")}</p>`}
        <form onSubmit=${submit}>
            <label class="field"><span>${t("key.label")}</span>
                <input name="key" type="password" autocomplete="off" spellcheck="false"
                    placeholder="lrd_…" autofocus /></label>
            <button class="primary">${t("key.use")}</button>
        </form>
        <p class="note">${t("key.note")} <code>larder key NAME --scope features</code></p>
        ${!problem && html`<${Scopes} />`}
        ${key && html`<p><button type="button" onClick=${forget}>${t("key.forget")}</button></p>`}
    </dialog>`;
}

function Scopes() {
    const scopes = useScopes();
    if (!scopes) return null;
    return html`<h3>${scopes.name ? t("key.allows", { name: scopes.name }) : t("key.allows_all")}</h3>
        <ul class="scopes">${SCOPES.map(
            (scope) => html`<li class=${scopes.has(scope) ? "" : "is-missing"}>
            <${Icon} name=${scopes.has(scope) ? "check" : "close"} />
            <span><code>${scope}</code> ${t(`scope.${scope}`)}
                ${!scopes.has(scope) && html`<span class="hidden">${t("scope.missing")}</span>`}</span></li>`,
        )}</ul>`;
}
