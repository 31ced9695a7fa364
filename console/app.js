// The console: the frame around the pages, each of which is loaded when it is opened.

import { html, render, useEffect, useRef, useState } from "./vendor/preact.js";
import { access, dismissProblem, newSnapshot, refresh, tiers, useApi, watch } from "./lib/api.js";
import * as format from "./lib/format.js";
import { LANGUAGES, chooseLanguage, language, loadLanguage, t } from "./lib/i18n.js";
import { go, href, route } from "./lib/router.js";
import { readStorage, useStore, writeStorage } from "./lib/store.js";
import { Icon } from "./parts/icons.js";
import { KeyDialog } from "./parts/key.js";
import { Problem, Skeleton } from "./parts/panel.js";

/** Pages by the first part of the address, in the order of the navigation. */
const PAGES = {
    "": () => import("./pages/overview.js"),
    segments: () => import("./pages/segments.js"),
    churn: () => import("./pages/churn.js"),
    customers: () => import("./pages/customer.js"),
    audiences: () => import("./pages/audiences.js"),
    data: () => import("./pages/data.js"),
};

function App() {
    const { page, rest } = useStore(route);
    const code = useStore(language);
    const [asksForKey, setAsksForKey] = useState(false);
    const { problem } = useStore(access);
    const closeDialog = () => {
        dismissProblem();
        setAsksForKey(false);
    };
    return html`<div class="shell" key=${code}>
        <a class="skip" href="#main" onClick=${skip}>${t("skip")}</a>
        <${Top} openKey=${() => setAsksForKey(true)} />
        <${Rail} page=${page} />
        <main class="main" id="main" tabindex="-1">
            <${NewSnapshot} />
            <${Page} key=${`${page}/${rest.join("/")}`} page=${page} />
        </main>
        ${(problem || asksForKey) && html`<${KeyDialog} problem=${problem} close=${closeDialog} />`}
    </div>`;
}

/** Moves the focus past the navigation, without a change of the address. */
function skip(event) {
    event.preventDefault();
    document.getElementById("main").focus();
}

function Top({ openKey }) {
    const state = useApi({ path: "/v1/segments" });
    return html`<header class="top">
        <a class="brand" href="#/"><span class="logo" aria-hidden="true"></span>Larder</a>
        <p class="facts">${
            state.data &&
            html`<span title=${state.data.snapshot}>
            ${t("top.as_of", { time: format.time(state.data.as_of) })}</span>
            <span class="muted">${format.ago(state.data.as_of)}</span>`
        }
            <${TairState} /></p>
        <${Search} />
        <div class="settings">
            <select aria-label=${t("language")} value=${language.get()}
                onChange=${(event) => chooseLanguage(event.currentTarget.value)}>
                ${Object.entries(LANGUAGES).map(
                    ([code, name]) => html`<option value=${code} lang=${code}
                    selected=${code === language.get()}>${name}</option>`,
                )}
            </select>
            <${ThemeButton} />
            <button type="button" class="icon-button" onClick=${openKey} aria-label=${t("key.title")}
                title=${t("key.title")}><${Icon} name="key" /></button>
        </div>
    </header>`;
}

/** Tells whether Tair answers, if there is one. Without it, answers come from the snapshot. */
function TairState() {
    const state = useStore(tiers);
    if (!state?.tair) return null;
    const { used } = state.tair;
    return html`<span class=${used ? "chip" : "chip is-bad"}
        title=${t(used ? "tair.used_note" : "tair.down_note")}>
        ${t(used ? "tair.used" : "tair.down")}</span>`;
}

function Search() {
    const search = (event) => {
        event.preventDefault();
        const field = event.currentTarget.elements.id;
        if (field.value.trim()) go(["customers", field.value.trim()]);
        field.value = "";
    };
    return html`<form class="search" role="search" onSubmit=${search}>
        <${Icon} name="search" />
        <input name="id" type="search" placeholder=${t("search.placeholder")}
            aria-label=${t("search.placeholder")}
            autocomplete="off" spellcheck="false" /></form>`;
}

function ThemeButton() {
    const isDark = () => {
        const chosen = document.documentElement.dataset.theme;
        return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    };
    const [dark, setDark] = useState(isDark);
    const toggle = () => {
        document.documentElement.dataset.theme = dark ? "light" : "dark";
        writeStorage("localStorage", "larder.theme", dark ? "light" : "dark");
        setDark(!dark);
    };
    useEffect(() => {
        if (readStorage("localStorage", "larder.theme")) return undefined;
        const system = matchMedia("(prefers-color-scheme: dark)");
        const follow = () => setDark(isDark());
        system.addEventListener("change", follow);
        return () => system.removeEventListener("change", follow);
    }, []);
    const label = t(dark ? "theme.light" : "theme.dark");
    return html`<button type="button" class="icon-button" onClick=${toggle} aria-label=${label}
        title=${label}>
        <${Icon} name=${dark ? "sun" : "moon"} /></button>`;
}

function Rail({ page }) {
    return html`<nav class="rail" aria-label=${t("navigation")}>
        ${Object.keys(PAGES).map(
            (name) => html`<a href=${href(name ? [name] : [])}
            aria-current=${name === page ? "page" : undefined}>${t(`page.${name || "overview"}`)}</a>`,
        )}
    </nav>`;
}

function NewSnapshot() {
    const published = useStore(newSnapshot);
    if (!published) return null;
    return html`<div class="notice" role="status">
        <p>${t("snapshot.new", { time: format.time(published.as_of) })}</p>
        <button type="button" class="primary" onClick=${refresh}>${t("snapshot.show")}</button></div>`;
}

let isFirst = true;

function Page({ page }) {
    const [module, setModule] = useState({});
    const title = useRef(null);
    const known = page in PAGES;
    const name = t(known ? `page.${page || "overview"}` : "page.unknown");
    useEffect(() => {
        document.title = `${name} · Larder`;
        if (!isFirst) title.current?.focus();
        isFirst = false;
        if (!known) return;
        PAGES[page]().then(setModule, () => setModule({ failed: true }));
    }, [page]);
    return html`<h1 ref=${title} tabindex="-1">${name}</h1>
        ${!known && html`<p>${t("page.unknown_note")} <a href="#/">${t("page.overview")}</a></p>`}
        ${
            module.failed &&
            html`<${Problem} error=${{ status: 0, kind: "unreachable" }}
            retry=${() => location.reload()} />`
        }
        ${known && !module.Page && !module.failed && html`<${Skeleton} height=${320} />`}
        ${module.Page && html`<${module.Page} />`}`;
}

await loadLanguage();
render(html`<${App} />`, document.getElementById("app"));
watch();
