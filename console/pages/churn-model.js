// The card of the churn model: how well it did on customers it had not seen, and what it doubts.

import { html } from "../vendor/preact.js";
import { useApi } from "../lib/api.js";
import * as format from "../lib/format.js";
import { t, tOr } from "../lib/i18n.js";
import { useQuery } from "../lib/router.js";
import { riskName } from "../lib/segments.js";
import { BarList } from "../parts/bars.js";
import { CalibrationChart, ColumnChart, DotChart } from "../parts/charts.js";
import { Figure, Panel, Select, Skeleton } from "../parts/panel.js";
import { Table } from "../parts/table.js";

const DOCS = "catalog/get_model";
const MOST_FEATURES = 12;

export function ChurnModel() {
    const state = useApi({ path: "/v1/models/churn" });
    const isMeasured = state.data?.card.cuts.length > 0;
    return html`<div class="grid">
        <${Panel} title=${t("model.summary")} state=${state} docs=${DOCS} height=${180} wide>
            ${({ card }) => html`<${Summary} card=${card} />`}<//>
        ${state.loading && html`<div class="wide"><${Skeleton} height=${960} /></div>`}
        ${isMeasured && html`<${Measurements} state=${state} />`}
        ${
            state.data?.card.risk_levels.length > 0 &&
            html`<${Panel} title=${t("model.levels")} note=${t("model.levels_note")} state=${state}
                docs=${DOCS}
                wide>
                ${({ card }) => html`<${Levels} levels=${card.risk_levels} />`}<//>`
        }
        <${Panel} title=${t("model.value")} note=${t("model.value_note")} state=${state} docs=${DOCS}
            height=${100}>
            ${({ card }) => html`<${ExpectedValue} model=${card.expected_value} />`}<//>
        <${Panel} title=${t("model.training")} state=${state} docs=${DOCS} height=${100}>
            ${({ card }) => html`<${Training} card=${card} />`}<//>
    </div>`;
}

/** Pictures of the measurements on each cutoff. */
function Measurements({ state }) {
    const [{ cut }, setQuery] = useQuery();
    const { cuts, features, chosen } = state.data.card;
    const shown = cuts.find(({ at }) => at === cut) ?? cuts.at(-1);
    const choice = html`<${Select} label=${t("model.cutoff")} hideLabel value=${shown.at}
        options=${cuts.map((one) => [one.at, cutName(one)])} onChange=${(at) => setQuery({ cut: at })} />`;
    const deciles = shown.bins.map(({ lift }, index) => ({ name: String(index + 1), value: lift }));
    const greatest = [...features].sort((a, b) => b.importance - a.importance).slice(0, MOST_FEATURES);
    const bar = ({ name, source, importance }) => ({
        name: name.replaceAll("_", " "),
        value: importance,
        text: format.fixed(importance, 3),
        title: source,
    });
    return html`
        <${Panel} title=${t("model.calibration")} note=${t("model.calibration_note")} state=${state}
            docs=${DOCS}
            tools=${choice}>
            ${() => html`<${CalibrationChart} label=${t("model.calibration")} bins=${shown.bins} />`}<//>
        <${Panel} title=${t("model.lift")} note=${t("model.lift_note")} state=${state} docs=${DOCS}
            tools=${choice}>
            ${() => html`<${ColumnChart} label=${t("model.lift")} baseline=${1} height=${240} rows=${deciles}
                nameTitle=${t("model.decile")} valueTitle=${t("model.lift")} formatValue=${format.fixed}
                    />`}<//>
        <${Panel} title=${t("model.auc")} note=${t("model.auc_note")} state=${state} docs=${DOCS}>
            ${({ card }) => html`<${Auc} card=${card} />`}<//>
        <${Panel} title=${t("model.features")} note=${t("model.features_note")} state=${state} docs=${DOCS}>
            ${() => html`<${BarList} label=${t("model.features")} rows=${greatest.map(bar)} />`}<//>
        <${Panel} title=${t("model.measures")} state=${state} docs=${DOCS} tools=${choice} wide>
            ${() => html`<${Measures} cut=${shown} chosen=${chosen} />`}<//>`;
}

function cutName({ at, used_to_choose: isChoice }) {
    return `${format.day(at)} · ${t(isChoice ? "model.validation" : "model.test")}`;
}

const candidateName = (name) => tOr(`candidate.${name}`, name.replaceAll("_", " "));

function Summary({ card }) {
    const test = card.cuts.findLast((cut) => !cut.used_to_choose) ?? card.cuts.at(-1);
    const model = test?.candidates.find(({ name }) => name === "model");
    const tested = test && { day: format.day(test.at), customers: format.count(test.customers) };
    const doubts = [...card.reasons, ...card.caveats];
    return html`<p>${
        card.trusted
            ? t("model.trusted", { name: candidateName(card.chosen), days: card.horizon_days })
            : t("model.not_trusted", { name: candidateName(card.chosen) })
    }</p>
        ${
            doubts.length > 0 &&
            html`<h3>${t("model.doubts")}</h3>
            <ul class="timeline">${doubts.map((text) => html`<li class="warning">${text}</li>`)}</ul>`
        }
        ${
            model &&
            html`<h3>${t("model.on_test", tested)}</h3>
            <dl class="figures">
                <${Figure} name="AUC" value=${format.fixed(model.auc, 3)} note=${t("model.auc_short")} />
                <${Figure} name=${t("model.error")} value=${format.percent(model.calibration_error)}
                    note=${t("model.error_short")} />
                <${Figure} name=${t("model.top_lift")} value=${`${format.fixed(model.top_lift, 2)} ×`}
                    note=${t("model.top_lift_short")} />
                <${Figure} name=${t("model.churned")} value=${format.percent(test.churned)} note=${t(
                    "model.churned_short",
                    { days: card.horizon_days },
                )} />
            </dl>`
        }`;
}

function Auc({ card }) {
    const { cuts, chosen } = card;
    const names = [...new Set(cuts.flatMap(({ candidates }) => candidates.map(({ name }) => name)))];
    const rows = names.map((name) => ({
        name: candidateName(name),
        isChosen: name === "model" || name === chosen,
        dots: cuts
            .map((cut) => ({
                name: cutName(cut),
                value: cut.candidates.find((candidate) => candidate.name === name)?.auc ?? null,
                isHollow: cut.used_to_choose,
            }))
            .filter(({ value }) => value !== null),
    }));
    const values = rows.flatMap(({ dots }) => dots.map(({ value }) => value));
    return html`<${DotChart} label=${t("model.auc")} rows=${rows}
        domain=${[Math.min(0.5, ...values), Math.max(...values)]}
        reference=${0.5} nameTitle=${t("model.candidate")} formatValue=${(value) => format.fixed(value, 4)}
            />`;
}

function Measures({ cut, chosen }) {
    const figure = (name, title, digits = 4) => ({
        name,
        title,
        number: true,
        cell: (row) => format.fixed(row[name], digits),
        sort: (row) => row[name],
    });
    const columns = [
        {
            name: "name",
            title: t("model.candidate"),
            head: true,
            cell: ({ name }) => html`<span
            class=${name === "model" || name === chosen ? "good" : ""}>${candidateName(name)}</span>`,
        },
        figure("auc", "AUC"),
        figure("log_loss", t("model.log_loss")),
        figure("brier", "Brier"),
        figure("calibration_error", t("model.error")),
        figure("top_lift", t("model.top_lift"), 2),
    ];
    return html`<${Table} label=${t("model.measures")} columns=${columns} rows=${cut.candidates}
        rowKey=${({ name }) => name} />`;
}

function Levels({ levels }) {
    const column = (name, title, cell) => ({ name, title, number: true, cell });
    const columns = [
        { name: "level", title: t("model.level"), head: true, cell: ({ level }) => riskName(level) },
        column("customers", t("model.customers"), ({ customers }) => format.count(customers)),
        column("predicted", t("model.predicted"), ({ predicted }) => format.percent(predicted)),
        column("then", t("model.customers_then"), ({ observed }) =>
            observed ? format.count(observed.customers) : format.NONE,
        ),
        column("predicted_then", t("model.predicted_then"), ({ observed }) =>
            observed?.customers > 0 ? format.percent(observed.predicted) : format.NONE,
        ),
        column("churned", t("model.churned_then"), ({ observed }) =>
            observed?.customers > 0 ? format.percent(observed.churned) : format.NONE,
        ),
    ];
    return html`<${Table} label=${t("model.levels")} columns=${columns} rows=${levels}
        rowKey=${({ level }) => level} />`;
}

function ExpectedValue({ model }) {
    const columns = [
        {
            name: "name",
            title: t("model.candidate"),
            head: true,
            cell: ({ name }) => html`<span
            class=${name === model.chosen ? "good" : ""}>${candidateName(name)}</span>`,
        },
        {
            name: "choose",
            title: t("model.error_validation"),
            number: true,
            cell: (row) => format.money(row.error_to_choose),
        },
        {
            name: "error",
            title: t("model.error_test"),
            number: true,
            cell: ({ error }) => format.money(error),
        },
    ];
    return html`<${Table} label=${t("model.value")} columns=${columns} rows=${model.candidates}
        rowKey=${({ name }) => name} />`;
}

function Training({ card }) {
    const cuts = card.training_cuts;
    const facts = [
        [t("model.rows"), format.count(card.training_rows)],
        [
            t("model.cuts"),
            cuts.length > 0 && `${cuts.length}: ${format.day(cuts[0])} – ${format.day(cuts.at(-1))}`,
        ],
        [t("model.base_rate"), format.percent(card.base_rate)],
        [t("model.slope"), format.fixed(card.calibration_slope, 3)],
        [
            t("model.thresholds"),
            card.level_rule === "top"
                ? t("model.top_text")
                : t("model.thresholds_text", {
                      high: format.percent(card.thresholds.high, 0),
                      medium: format.percent(card.thresholds.medium, 0),
                  }),
        ],
        [t("model.sampling"), card.sampling],
        [t("model.degenerate"), card.purchases?.degenerate.join("; ")],
    ];
    return html`<dl class="facts-list">${facts
        .filter(([, value]) => value)
        .map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
}
