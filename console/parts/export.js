// Exports: a dialog that saves the members of a list as a file.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { curl, download } from "../lib/api.js";
import * as format from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Icon } from "./icons.js";
import { useScopes } from "./key.js";
import { Problem, Select, copyText } from "./panel.js";

const FORMATS = [
    ["csv", "CSV"],
    ["ndjson", "NDJSON"],
    ["parquet", "Parquet"],
];

/**
 * A button that opens the dialog. Keys without the scope `export` see why they cannot.
 * @param {object} props
 * @param {import("../lib/api.js").ApiRequest} props.request The export, without format and columns.
 * @param {string[]} props.columns Features that the list shows.
 * @param {string} props.name Name of the file, without its ending.
 */
export function ExportButton({ request, columns, name }) {
    const [open, setOpen] = useState(false);
    const scopes = useScopes();
    const lacks = scopes && !scopes.has("export");
    return html`<button type="button" disabled=${lacks} title=${lacks ? t("export.lacks") : undefined}
            onClick=${() => setOpen(true)}>${t("export")}</button>
        ${
            open &&
            html`<${ExportDialog} request=${request} columns=${columns} name=${name} scopes=${scopes}
            close=${() => setOpen(false)} />`
        }`;
}

function withOptions(request, { fileFormat, all, bom, platform, order }, columns) {
    const chosen = all ? null : ["customer_id", "rank", ...columns];
    const options = {
        format: fileFormat,
        ...(bom && fileFormat === "csv" && { bom: true }),
        ...(platform && { platform }),
    };
    if (order === "rank") options.order = "rank";
    if (request.body) {
        return { ...request, body: { ...request.body, ...options, ...(chosen && { columns: chosen }) } };
    }
    return { ...request, query: { ...request.query, ...options, columns: chosen?.join(",") } };
}

function ExportDialog({ request, columns, name, scopes, close }) {
    const dialog = useRef(null);
    const [options, setOptions] = useState({
        fileFormat: "csv",
        all: false,
        bom: true,
        platform: "",
        order: "rank",
    });
    const [progress, setProgress] = useState(null);
    useEffect(() => dialog.current.showModal(), []);
    const change = (changes) => setOptions({ ...options, ...changes });
    const full = withOptions(request, options, columns);
    const save = async (event) => {
        event.preventDefault();
        setProgress({ received: 0 });
        try {
            const saved = await download(full, `${name}.${options.fileFormat}`, setProgress);
            setProgress({ ...saved, isDone: true });
        } catch (error) {
            setProgress({ error });
        }
    };
    const isRunning = progress && !progress.isDone && !progress.error;
    const mayMatch = !scopes || scopes.has("match") || scopes.has("pii");
    return html`<dialog ref=${dialog} aria-labelledby="export-title" onClose=${close}>
        <header><h2 id="export-title">${t("export.title")}</h2>
            <button type="button" class="icon-button" aria-label=${t("close")}
                onClick=${() => dialog.current.close()}>
                <${Icon} name="close" /></button></header>
        <form onSubmit=${save}>
            <${Select} label=${t("export.format")} value=${options.fileFormat} options=${FORMATS}
                onChange=${(fileFormat) => change({ fileFormat })} />
            <${Select} label=${t("columns")} value=${options.all ? "all" : "shown"}
                options=${[
                    ["shown", t("export.shown")],
                    ["all", t("export.all")],
                ]}
                onChange=${(value) => change({ all: value === "all" })} />
            <${Select} label=${t("export.order")} value=${options.order}
                options=${[
                    ["rank", t("export.by_rank")],
                    ["id", t("export.by_id")],
                ]}
                onChange=${(order) => change({ order })} />
            ${
                mayMatch &&
                html`<${Select} label=${t("export.platform")} value=${options.platform}
                options=${[
                    ["", t("export.no_platform")],
                    ["google", "Google"],
                    ["meta", "Meta"],
                ]}
                onChange=${(platform) => change({ platform })} />`
            }
            ${
                options.fileFormat === "csv" &&
                html`<label class="field inline"><input type="checkbox"
                checked=${options.bom} onChange=${() => change({ bom: !options.bom })}
                    />${t("export.bom")}</label>`
            }
            <button class="primary" disabled=${isRunning}>${t("export.save")}</button>
            <button type="button" onClick=${() => copyText(curl(full))}>${t("panel.curl")}</button>
        </form>
        <div role="status">${progress && html`<${Progress} progress=${progress} />`}</div>
        <p class="note">${t(scopes?.has("pii") ? "export.pii" : "export.masked")}</p>
    </dialog>`;
}

function Progress({ progress }) {
    const { error, received, rows, isDone, name } = progress;
    if (error) return html`<${Problem} error=${error} />`;
    const size = received ? format.bytes(received) : "";
    return isDone
        ? html`<p class="good">${t("export.done", { name, size, rows: format.count(rows) })}</p>`
        : html`<p>${t("export.running", { size, rows: format.count(rows ?? null) })}</p>`;
}
