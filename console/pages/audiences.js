// Audiences: conditions beside the expression, with count, revenue, breakdown, comparison, preview, export.

import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { useApi } from "../lib/api.js";
import { condition, group, parse, print } from "../lib/expression.js";
import * as format from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { href, useQuery } from "../lib/router.js";
import { kindOf, useFeatures } from "../lib/views.js";
import { Builder } from "../parts/builder.js";
import { Breakdown, Comparison, SaveAudience } from "../parts/audience-results.js";
import { ExportButton } from "../parts/export.js";
import { Members, featureTitle } from "../parts/members.js";
import { Empty, Figure, Panel, Problem, Select } from "../parts/panel.js";

const COLUMNS =
    "rfm.segment,rfm.monetary,rfm.recency_days,churn.probability,churn.value_at_risk,profile.country";
const EXAMPLES = [
    ["win_back", "churn.risk:high and rfm.monetary >= 500"],
    ["loyal_at_risk", "segment in (champions, loyal) and not churn.risk:low"],
    ["one_order", "rfm.frequency = 1 and rfm.recency_days <= 60"],
    ["bought", "bought(since:-90d, times >= 2)"],
    ["growing", "behavior.spend_trend >= 0.5 and behavior.spend_90d >= 200"],
];
const TYPING_MILLIS = 250;
const START = group("and", [condition("segment", "=", [{ text: "", quoted: false }])]);

/** Reads an expression; null while the builder cannot. */
function tryParse(text) {
    if (!text.trim()) return START;
    try {
        return parse(text);
    } catch {
        return null;
    }
}

/** Keeps the text of the expression and the tree of the builder in step, and the address a moment later. */
function useExpression() {
    const [{ where = "" }, setQuery] = useQuery();
    const [state, setState] = useState({ text: where, tree: tryParse(where) });
    const known = useRef(where);
    useEffect(() => {
        if (where === known.current) return;
        known.current = where;
        setState({ text: where, tree: tryParse(where) });
    }, [where]);
    useEffect(() => {
        const timer = setTimeout(() => {
            if (state.text === known.current) return;
            known.current = state.text;
            setQuery({ where: state.text });
        }, TYPING_MILLIS);
        return () => clearTimeout(timer);
    }, [state.text]);
    return {
        ...state,
        where: where.trim(),
        setText: (text) => setState({ text, tree: tryParse(text) }),
        setTree: (tree) => setState({ text: print(tree), tree }),
    };
}

export function Page() {
    const expression = useExpression();
    const { where } = expression;
    const [query, setQuery] = useQuery();
    const features = useFeatures();
    const columns = (query.columns ?? COLUMNS)
        .split(",")
        .filter((name) => features.some((one) => one.name === name));
    const order = query.order_by || "rfm.monetary desc";
    const count = useApi(where ? { path: "/v1/audiences", body: { where, limit: 0 } } : null, { live: true });
    const members = { path: "/v1/audiences", body: { where, order_by: order } };
    const file = { path: "/v1/audiences/export", body: { where, order_by: order } };
    const isRight = where && count.data && !count.error;
    return html`<div class="grid">
        <div class="stack">
            <${Definition} expression=${expression} features=${features} error=${where ? count.error : null}
                />
            ${isRight && html`<${SaveAudience} where=${where} />`}
        </div>
        <div class="stack">
            <${Result} where=${where} count=${count} />
            ${
                isRight &&
                html`<${Breakdown} where=${where} features=${features} />
                <${Comparison} where=${where} features=${features} />`
            }
        </div>
        ${
            isRight &&
            html`
            ${
                columns.length > 0 &&
                html`<${Members} title=${t("audience.preview")} request=${members} columns=${columns} live
                docs="segments/query_audience"
                    setColumns=${(chosen) => setQuery({ columns: chosen.join(",") })}
                tools=${html`<${OrderBy} order=${order} features=${features}
                    setOrder=${(next) => setQuery({ order_by: next })} />
                    <${ExportButton} request=${file} columns=${columns} name="audience" />`} />`
            }`
        }
    </div>`;
}

function OrderBy({ order, features, setOrder }) {
    const [name, direction = "asc"] = order.split(" ");
    const options = features
        .filter(({ type, personal }) => !personal && ["number", "time"].includes(kindOf(type)))
        .map((feature) => [feature.name, featureTitle(feature.name)]);
    return html`<${Select} label=${t("audience.order")} hideLabel value=${name} options=${options}
            onChange=${(next) => setOrder(`${next} ${direction}`)} />
        <${Select} label=${t("audience.direction")} hideLabel value=${direction}
            options=${[
                ["desc", t("audience.desc")],
                ["asc", t("audience.asc")],
            ]}
            onChange=${(next) => setOrder(`${name} ${next}`)} />`;
}

function Definition({ expression, features, error }) {
    const { text, tree, setText, setTree } = expression;
    const { data } = useApi({ path: "/v1/segments" });
    const segments = useMemo(() => data?.segments.map(({ name }) => name) ?? [], [data]);
    const field = useRef(null);
    const show = () => {
        const at = [...text].slice(0, error.position).join("").length;
        field.current.focus();
        field.current.setSelectionRange(at, text.length);
    };
    return html`<${Panel} title=${t("audience.definition")} docs="segments/query_audience"
        tools=${html`<a href="#/audiences">${t("audience.clear")}</a>`}>
        ${() => html`<h3>${t("audience.conditions")}</h3>
            ${
                tree
                    ? html`<${Builder} tree=${tree} onChange=${setTree} features=${features}
                        segments=${segments} />`
                    : html`<${Empty} title=${t("audience.unreadable")}>${t("audience.unreadable_note")}<//>`
            }
            <h3><label for="expression">${t("audience.expression")}</label></h3>
            <textarea id="expression" ref=${field} class="expression" spellcheck="false"
                maxlength="8192" value=${text}
                placeholder="churn.risk:high and rfm.monetary >= 500" aria-invalid=${error ? "true" : "false"}
                onInput=${(event) => setText(event.currentTarget.value)} />
            <div role="status">${
                error &&
                html`<${Problem} error=${error} />
                ${
                    error.position !== null &&
                    html`<button type="button"
                    onClick=${show}>${t("audience.show_place")}</button>`
                }`
            }
            </div>`}<//>`;
}

function Result({ where, count }) {
    if (!where) {
        return html`<${Panel} title=${t("audience.examples")}>${() => html`<p
            class="note">${t("audience.start")}</p>
            <ul class="timeline">${EXAMPLES.map(
                ([name, text]) => html`<li><a href=${href(["audiences"], { where: text })}>
                ${t(`audience.example_${name}`)}</a><br /><code class="definition">${text}</code></li>`,
            )}</ul>`}<//>`;
    }
    if (count.error) {
        return html`<${Panel} title=${t("audience.result")}>${() => html`<p
            class="total">${format.NONE}</p>`}<//>`;
    }
    return html`<${Panel} title=${t("audience.result")} state=${count} docs="segments/query_audience"
        height=${96}>
        ${(
            answer,
        ) => html`<p class="total" role="status" data-total=${answer.total}>${format.count(answer.total)}
                <small> ${t("audience.of_all", { share: format.percent(answer.share, 2) })}</small></p>
            <dl class="figures">
                <${Figure} name=${t("revenue")} value=${format.wholeMoney(answer.revenue)} />
                <${Figure} name=${t("segments.per_customer")}
                    value=${format.wholeMoney(answer.total ? answer.revenue / answer.total : null)} />
                <${Figure} name="R · F · M" value=${["r", "f", "m"]
                    .map((score) => format.fixed(answer[`mean_${score}_score`], 1))
                    .join(" · ")} />
            </dl>
            ${answer.hints.map(({ message }) => html`<p class="warning">${message}</p>`)}`}<//>`;
}
