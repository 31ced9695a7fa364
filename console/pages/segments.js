// Segments: the list, moves between two snapshots, and overlaps; one segment has a page of its own.

import { html, useEffect, useState } from "../vendor/preact.js";
import { useApi } from "../lib/api.js";
import * as format from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { href, route, useQuery } from "../lib/router.js";
import { useStore } from "../lib/store.js";
import { segmentName } from "../lib/segments.js";
import { Bar } from "../parts/bars.js";
import { Panel, Skeleton } from "../parts/panel.js";
import { Table } from "../parts/table.js";
import { Tabs } from "../parts/tabs.js";

const OTHERS = {
    migration: () => import("./migration.js").then(({ Migration }) => Migration),
    overlap: () => import("./overlap.js").then(({ Overlap }) => Overlap),
};
const segmentPage = () => import("./segment.js").then(({ SegmentPage }) => SegmentPage);

export function Page() {
    const [name] = useStore(route).rest;
    const [{ tab = "list" }] = useQuery();
    if (name) return html`<${Lazy} key="segment" load=${segmentPage} name=${name} />`;
    return html`<${Tabs} path=${["segments"]} current=${tab} tabs=${["list", "migration", "overlap"]}
        prefix="segments" />
        ${OTHERS[tab] ? html`<${Lazy} key=${tab} load=${OTHERS[tab]} />` : html`<${SegmentList} />`}`;
}

/** Shows a component of a module that is loaded when it is first shown. */
function Lazy({ load, ...props }) {
    const [component, setComponent] = useState(null);
    useEffect(() => {
        load().then((loaded) => setComponent(() => loaded));
    }, []);
    return component ? html`<${component} ...${props} />` : html`<${Skeleton} height=${400} />`;
}

function SegmentList() {
    const state = useApi({ path: "/v1/segments" });
    return html`<${Panel} title=${t("segments.list")} state=${state} docs="segments/list_segments"
        height=${520}>
        ${({ segments }) => {
            const greatest = Math.max(...segments.map(({ size }) => size ?? 0));
            const mean = (name) => ({
                name,
                title: name[5].toUpperCase(),
                number: true,
                cell: (row) => format.fixed(row[name], 1),
                sort: (row) => row[name],
            });
            const columns = [
                {
                    name: "name",
                    title: t("segment"),
                    head: true,
                    cell: ({ name }) => html`<a href=${href(["segments", name])}>
                    ${segmentName(name)}</a>`,
                    sort: ({ name }) => segmentName(name),
                },
                {
                    name: "kind",
                    title: t("segments.kind"),
                    cell: ({ kind }) => t(`kind.${kind}`),
                    sort: ({ kind }) => kind,
                },
                {
                    name: "bar",
                    title: html`<span class="hidden">${t("share")}</span>`,
                    cell: ({ size }) => html`<${Bar} share=${size / greatest} />`,
                },
                {
                    name: "size",
                    title: t("customers"),
                    number: true,
                    cell: ({ size }) => format.count(size),
                    sort: ({ size }) => size,
                },
                {
                    name: "share",
                    title: t("share"),
                    number: true,
                    cell: ({ share }) => format.percent(share),
                    sort: ({ share }) => share,
                },
                {
                    name: "revenue",
                    title: t("revenue"),
                    number: true,
                    cell: ({ revenue }) => format.wholeMoney(revenue),
                    sort: ({ revenue }) => revenue,
                },
                {
                    name: "per",
                    title: t("segments.per_customer"),
                    number: true,
                    cell: ({ revenue, size }) => format.wholeMoney(size ? revenue / size : null),
                    sort: ({ revenue, size }) => (size ? revenue / size : null),
                },
                mean("mean_r_score"),
                mean("mean_f_score"),
                mean("mean_m_score"),
                {
                    name: "definition",
                    title: t("segments.definition"),
                    cell: ({ definition }) => html`<span class="definition">
                    ${definition}</span>`,
                },
            ];
            return html`<${Table} label=${t("segments.list")} columns=${columns} rows=${segments}
                rowKey=${({ name }) => name} />`;
        }}<//>`;
}
