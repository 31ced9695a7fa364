// Requests to the REST API: the key, answers kept in memory, and problems.

import { useEffect, useState } from "../vendor/preact.js";
import { createStore, readStorage, useStore, writeStorage } from "./store.js";

/**
 * A request: GET with `query`, or POST with `body`.
 * @typedef {{path: string, query?: Record<string, unknown>, body?: object}} ApiRequest
 */

const KEY = "larder.key";
const KEPT_ANSWERS = 400;
/** Where the newest snapshot can be seen at the least cost: a conditional request. */
const WATCHED = { path: "/v1/segments" };
const WATCH_MILLIS = 15_000;

/** The caller's key, and the problem because of which a key is needed. */
export const access = createStore({ key: readStorage("sessionStorage", KEY), problem: null });
/** Grows when answers in memory are out of date, so that all components ask again. */
export const epoch = createStore(0);
/** The snapshot that was published since the page was loaded, if any. */
export const newSnapshot = createStore(null);
/** The state of the tiers, as `/readyz` tells. */
export const tiers = createStore(null);

/** The snapshot that the page shows. */
let watched = null;

/** @type {Map<string, {promise: Promise<any>, data?: any}>} */
const answers = new Map();

/** Figures of an audience that is too small for the caller. */
const WITHHELD = Object.freeze({ total: null, revenue: null, breakdown: null, min_count: 0 });

/** A problem of the API, or of the connection (status 0). */
export class ApiError extends Error {
    /** @param {{type?: string, title?: string, detail?: string, position?: number}} problem */
    constructor(problem, status, retryAfter = null) {
        super(problem.detail ?? problem.title ?? String(status));
        this.kind = (problem.type ?? "").replace("urn:larder:problem:", "");
        this.title = problem.title ?? "";
        this.position = problem.position ?? null;
        this.status = status;
        this.retryAfter = retryAfter;
    }
}

/** Returns the path of a request with its query. */
export function target({ path, query = {} }) {
    const filled = Object.entries(query).filter(
        ([, value]) => value !== null && value !== undefined && value !== "",
    );
    const search = filled.map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`).join("&");
    return search ? `${path}?${search}` : path;
}

/** Returns the command that sends a request from a shell. The key stays out of the command. */
export function curl(request) {
    const quote = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;
    const parts = [`curl -s ${quote(location.origin + target(request))}`];
    if (access.get().key) parts.push('-H "Authorization: Bearer $LARDER_KEY"');
    if (request.body)
        parts.push("-H 'content-type: application/json'", `-d ${quote(JSON.stringify(request.body))}`);
    return parts.join(" \\\n  ");
}

/**
 * Sends a request and returns the response, or fails with an `ApiError`. Where a key is needed, the page asks
 * for one unless `isQuiet`.
 */
async function send(request, { signal, isQuiet = false } = {}) {
    const headers = {};
    const { key } = access.get();
    if (key) headers.authorization = `Bearer ${key}`;
    if (request.body) headers["content-type"] = "application/json";
    let response;
    try {
        const body = request.body && JSON.stringify(request.body);
        const method = body ? "POST" : "GET";
        // Without credentials of the browser, a 401 does not make the browser ask for a password itself.
        response = await fetch(target(request), { method, headers, body, signal, credentials: "omit" });
    } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new ApiError({ type: "unreachable" }, 0);
    }
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({ title: response.statusText }));
    const error = new ApiError(problem, response.status, Number(response.headers.get("retry-after")) || null);
    if (error.status === 401 && !isQuiet && key === access.get().key) access.set({ key, problem: error });
    throw error;
}

function answerName(request) {
    return `${target(request)} ${request.body ? JSON.stringify(request.body) : ""}`;
}

/** Returns the answer to a request, from memory if it is there. Equal requests at the same time are one. */
export function load(request) {
    const name = answerName(request);
    const known = answers.get(name);
    if (known) return known.promise;
    if (answers.size >= KEPT_ANSWERS) answers.clear();
    const answer = { promise: send(request).then((response) => response.json()) };
    answers.set(name, answer);
    answer.promise.then(
        (data) => (answer.data = data),
        () => answers.get(name) === answer && answers.delete(name),
    );
    return answer.promise;
}

/** Loads a request that is given up as soon as `signal` says so. */
async function loadLive(request, signal) {
    const name = answerName(request);
    if (answers.has(name)) return answers.get(name).promise;
    const data = await (await send(request, { signal })).json();
    answers.set(name, { promise: Promise.resolve(data), data });
    return data;
}

/** Forgets all answers, so that every component asks again. */
export function refresh() {
    answers.clear();
    newSnapshot.set(null);
    watched = null;
    epoch.set(epoch.get() + 1);
}

/** Goes on without another key: the panels tell that one is needed. */
export function dismissProblem() {
    access.set({ ...access.get(), problem: null });
}

/** Uses another key from now on; null for none. */
export function changeKey(key) {
    writeStorage("sessionStorage", KEY, key);
    access.set({ key, problem: null });
    refresh();
}

/**
 * Loads one request or several, and returns data, error and progress. Former data stay while other data load.
 * @param {ApiRequest | ApiRequest[] | null} request
 * @param {{live?: boolean, allowsWithheld?: boolean}} [options] `live` gives up a request that is replaced by
 *     another one; `allowsWithheld` takes figures that the caller may not see as absent, unless all are.
 */
export function useApi(request, { live = false, allowsWithheld = false } = {}) {
    const version = useStore(epoch);
    const many = Array.isArray(request);
    const requests = many ? request : request ? [request] : [];
    const name = requests.map(answerName).join("\n");
    const [attempt, setAttempt] = useState(0);
    const known = () => {
        const data = requests.map((one) => answers.get(answerName(one))?.data);
        return requests.length > 0 && data.every(Boolean)
            ? { data: many ? data : data[0], name }
            : { name: null };
    };
    const [state, setState] = useState(known);
    useEffect(() => {
        if (requests.length === 0) return setState({ name });
        const controller = new AbortController();
        const settle = (next) => controller.signal.aborted || setState({ ...next, name });
        let refusal = null;
        const withhold = (error) => {
            if (!allowsWithheld || error.status !== 403) throw error;
            refusal = error;
            return WITHHELD;
        };
        const loadOne = (one) => (live ? loadLive(one, controller.signal) : load(one));
        Promise.all(requests.map((one) => loadOne(one).catch(withhold))).then(
            (data) => {
                const isRefused = refusal && data.every((one) => one === WITHHELD);
                settle(isRefused ? { error: refusal } : { data: many ? data : data[0] });
            },
            (error) => settle({ error }),
        );
        return () => controller.abort();
    }, [name, version, attempt]);
    return {
        ...state,
        loading: requests.length > 0 && state.name !== name,
        request,
        reload: () => setAttempt(attempt + 1),
    };
}

/** Saves the answer to a request as a file, and reports the number of bytes on the way. */
export async function download(request, fileName, onProgress) {
    const response = await send(request);
    const rows = Number(response.headers.get("larder-rows"));
    const chunks = [];
    let received = 0;
    for (const reader = response.body.getReader(); ;) {
        const { done, value } = await reader.read().catch(() => {
            throw new ApiError({ type: "interrupted" }, 0);
        });
        if (done) break;
        chunks.push(value);
        received += value.length;
        onProgress({ received, rows });
    }
    const disposition = /filename="([^"]+)"/.exec(response.headers.get("content-disposition") ?? "");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(chunks));
    link.download = disposition?.[1] ?? fileName;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    return { received, rows, name: link.download };
}

/** Looks for a new snapshot and at the tiers now and then, while the page is visible. */
export function watch() {
    const ask = async (request) => (await send(request, { isQuiet: true })).json();
    const look = async () => {
        if (document.visibilityState !== "visible") return;
        try {
            tiers.set((await ask({ path: "/readyz" })).tiers);
            const { snapshot, as_of } = await ask(WATCHED);
            if (watched && watched !== snapshot) newSnapshot.set({ snapshot, as_of });
            watched ??= snapshot;
        } catch {
            // The panels tell what is wrong.
        }
    };
    setInterval(look, WATCH_MILLIS);
    document.addEventListener("visibilitychange", look);
    look();
}
