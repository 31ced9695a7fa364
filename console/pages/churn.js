// Churn: the list by value at risk with its filters, and the model card as pictures and in words.

import { html, useEffect, useState } from "../vendor/preact.js";
import { useApi } from "../lib/api.js";
import { t } from "../lib/i18n.js";
import { useQuery } from "../lib/router.js";
import { riskName, segmentName } from "../lib/segments.js";
import { ExportButton } from "../parts/export.js";
import { Members } from "../parts/members.js";
import { Select, Skeleton, Switch } from "../parts/panel.js";
import { Tabs } from "../parts/tabs.js";

const COLUMNS = [
    "rfm.monetary",
    "churn.probability",
    "churn.risk",
    "churn.expected_value",
    "churn.value_at_risk",
    "churn.reasons",
    "churn.action",
].join(",");
const RISKS = ["", "high", "medium", "low"];

export function Page() {
    const [{ tab = "list" }] = useQuery();
    return html`<${Tabs} path=${["churn"]} current=${tab} tabs=${["list", "model"]} prefix="churn" />
        ${tab === "model" ? html`<${Model} />` : html`<${ChurnList} />`}`;
}

function Model() {
    const [component, setComponent] = useState(null);
    useEffect(() => {
        import("./churn-model.js").then(({ ChurnModel }) => setComponent(() => ChurnModel));
    }, []);
    return component ? html`<${component} />` : html`<${Skeleton} height=${500} />`;
}

function ChurnList() {
    const [query, setQuery] = useQuery();
    const { risk = "", segment = "", min_probability: probability = "", min_value: value = "" } = query;
    const columns = (query.columns ?? COLUMNS).split(",").filter(Boolean);
    const filters = { risk, segment, min_probability: probability, min_value: value };
    const { data } = useApi({ path: "/v1/segments" });
    const segments =
        data?.segments.filter(({ kind }) => kind !== "churn").map(({ name }) => [name, segmentName(name)]) ??
        [];
    return html`<div class="filters">
            <${Switch} label=${t("churn.risk")} value=${risk} onChange=${(next) => setQuery({ risk: next })}
                options=${RISKS.map((name) => [name, name ? riskName(name) : t("all")])} />
            <${Select} label=${t("segment")} value=${segment} options=${[["", t("all")], ...segments]}
                onChange=${(next) => setQuery({ segment: next })} />
            <${NumberFilter} label=${t("churn.min_probability")} value=${probability} max="1" step="0.05"
                onChange=${(next) => setQuery({ min_probability: next })} />
            <${NumberFilter} label=${t("churn.min_value")} value=${value} step="100"
                onChange=${(next) => setQuery({ min_value: next })} />
        </div>
        <${Members} title=${t("churn.list")} note=${t("churn.list_note")} columns=${columns} live
            docs="segments/list_churn"
            request=${{ path: "/v1/churn", query: filters }}
                setColumns=${(chosen) => setQuery({ columns: chosen.join(",") })}
            tools=${html`<${ExportButton} request=${{ path: "/v1/churn/export", query: filters }}
                columns=${columns}
                name="churn" />`} />`;
}

function NumberFilter({ label, value, onChange, max, step }) {
    return html`<label class="field"><span>${label}</span><input type="number" min="0" max=${max}
        step=${step} value=${value}
        size="8" onChange=${(event) => onChange(event.currentTarget.value)} /></label>`;
}
