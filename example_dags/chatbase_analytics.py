"""
Make a report on an agent: conversations and credits per day, feedback, answers of low confidence.

The conversations are exported as Parquet, and what Chatbase counts each day, with the credits that it cost.
DuckDB adds up, matplotlib draws, and a page of HTML shows it; it needs no network. Needs ``duckdb``,
``matplotlib`` and the extra ``parquet``; what Chatbase counts needs API v2.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_chatbase.operators.exports import (
    ChatbaseAnalyticsOperator,
    ChatbaseExportConversationsOperator,
)

PARAMS = {
    "agent_id": Param(None, type=["null", "string"], description="Empty: the connection's default agent."),
    "output_path": Param(
        "file:///tmp/chatbase/analytics",
        type="string",
        description="URL of a directory. Several workers: one that they share, as s3://bucket/folder.",
    ),
    "report_path": Param(
        "file:///tmp/chatbase/report.html",
        type="string",
        description="URL of a file. Several workers: where you find it, as s3://bucket/report.html.",
    ),
    "days": Param(
        60,
        type="integer",
        minimum=1,
        maximum=365,
        description="How many days the report goes back. Chatbase counts the last twelve months.",
    ),
    "low_score": Param(0.5, type="number", description="Answers with less confidence are listed."),
}

QUERIES = {
    "days": """
        SELECT created_at::DATE AS day, coalesce(channel, '(none)') AS channel, count(*) AS conversations
        FROM conversations GROUP BY ALL ORDER BY ALL""",
    "credits": """
        SELECT created_at::DATE AS day, coalesce(credits, 0) AS credits FROM analytics
        WHERE created_at >= $since::TIMESTAMPTZ ORDER BY day""",
    "totals": """
        SELECT (SELECT count(*) FROM conversations) AS conversations, count(*) AS messages,
            (SELECT sum(credits) FROM analytics WHERE created_at >= $since::TIMESTAMPTZ) AS credits,
            count(*) FILTER (feedback = 'negative') AS negative,
            count(*) FILTER (feedback = 'positive') AS positive,
            count(*) FILTER (score < $low) AS unsure, count(score) AS scored
        FROM messages""",
    "unsure": """
        SELECT a.score, coalesce(a.channel, '(none)') AS channel, a.conversation_id,
            (SELECT arg_max(q.text, q.position) FROM messages q WHERE q.conversation_id = a.conversation_id
                AND q.role = 'user' AND q.position < a.position) AS question
        FROM messages a WHERE a.score < $low ORDER BY a.score, a.conversation_id, a.position LIMIT 15""",
}

with DAG(
    dag_id="chatbase_analytics",
    schedule=None,
    params=PARAMS,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["chatbase", "example"],
    doc_md=__doc__,
) as dag:
    since = "{{ macros.ds_add(macros.datetime.now().strftime('%Y-%m-%d'), -params.days) }}"
    export = ChatbaseExportConversationsOperator(
        task_id="export",
        agent_id="{{ params.agent_id or '' }}",
        output_path="{{ params.output_path }}/conversations",
        start=since,
        file_format="parquet",
        redact={"*": "detect"},  # the report shows questions, and nobody's address
    )
    analytics = ChatbaseAnalyticsOperator(
        task_id="analytics",
        agent_id="{{ params.agent_id or '' }}",
        output_path="{{ params.output_path }}/analytics",
        start=since,
        file_format="parquet",
    )

    @task(multiple_outputs=False)
    def about(params: dict[str, Any]) -> dict[str, Any]:
        """Read the agent's name, and its credits of this month."""
        from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

        with ChatbaseHook() as hook:
            agent = hook.get_agent(params["agent_id"])
        return {name: agent.get(name) for name in ("name", "creditsUsed", "creditLimit")}

    @task(multiple_outputs=False)
    def report(
        exported: dict[str, Any], counted: dict[str, Any], agent: dict[str, Any], params: dict[str, Any]
    ) -> dict[str, Any]:
        """Write the page; the texts in it go nowhere else."""
        from airflow.sdk import ObjectStoragePath

        tables = {"conversations": exported, "messages": exported, "analytics": counted}
        found = analyse(tables, params["output_path"], params["low_score"])
        path = ObjectStoragePath(params["report_path"])
        if path.protocol in ("file", ""):
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(found, agent, params["low_score"]), encoding="utf-8")
        return {"report_path": str(path), **found["totals"][0]}

    report(export.output, analytics.output, about())


def analyse(exported: dict[str, dict[str, Any]], output_path: str, low: float) -> dict[str, Any]:
    """
    Count with DuckDB, over the files that the exports' manifests list.

    :param exported: for each table what its export returned.
    :param output_path: where the exports are; what they return does not name the Airflow connection.
    :param low: below which confidence an answer is listed.
    :return: the rows of each query.
    """
    import duckdb

    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    for table, of_it in exported.items():
        folder = "analytics" if table == "analytics" else "conversations"
        database.register(table, _table(f"{output_path}/{folder}", of_it, table))
    found: dict[str, Any] = {}
    for name, query in QUERIES.items():
        given = {"low": low, "since": exported["analytics"]["window"]["start"]}
        cursor = database.execute(query, {key: value for key, value in given.items() if f"${key}" in query})
        columns = [column[0] for column in cursor.description]
        found[name] = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    return found


def _table(output_path: str, exported: dict[str, Any], table: str) -> Any:
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq
    from airflow.sdk import ObjectStoragePath

    root, pieces = ObjectStoragePath(output_path), []
    # One for the window, or a directory of one a day.
    told = root / exported["manifest_path"].removeprefix(f"{exported['output_path']}/")
    for manifest in [told] if told.is_file() else told.iterdir():
        for file in json.loads(manifest.read_text())["files"]:
            if file["table"] == table:
                with (root / file["path"]).open("rb") as stream:
                    pieces.append(pq.read_table(stream))
    return pa.concat_tables(pieces)


COLOURS = ("#2f6fde", "#f2a33a", "#39a36b", "#c2509a", "#7a6bd0", "#4bb4c4", "#a0a7b4")
STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1d2430; background: #fff }
body { margin: 32px auto; max-width: 900px; padding: 0 16px; overflow-wrap: break-word }
h1 { font-size: 22px } h2 { font-size: 16px; margin-top: 28px } svg { width: 100%; height: auto }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: 12px }
.cards div { background: #f3f5f9; border-radius: 8px; padding: 12px; color: #556 }
.cards b { display: block; font-size: 20px; color: #1d2430; white-space: nowrap }
table { border-collapse: collapse; width: 100%; table-layout: fixed }
td, th { text-align: left; padding: 5px 8px; border-bottom: 1px solid #e4e7ee }
th:nth-child(1) { width: 44px } th:nth-child(2) { width: 120px } th:nth-child(4) { width: 250px }
code { font-size: 11px; color: #667 }
"""


def page(found: dict[str, Any], agent: dict[str, Any], low: float) -> str:
    """
    Write the report as a page of HTML.

    :param found: the rows of the queries.
    :param agent: the agent's name and credits.
    :param low: below which confidence an answer is listed.
    """
    [totals] = found["totals"]
    rated = totals["negative"] + totals["positive"]
    spent = "not told" if totals["credits"] is None else _number(totals["credits"])
    limit = f" of {_number(agent['creditLimit'])}" if agent.get("creditLimit") else ""
    cards = {
        "conversations": f"{totals['conversations']:,}",
        "messages": f"{totals['messages']:,}",
        "negative of rated answers": f"{totals['negative'] / rated:.0%}" if rated else "none rated",
        f"answers below {low:g} confidence": f"{totals['unsure']:,} of {totals['scored']:,}",
        "credits on these days": spent,
        "credits this month": f"{_number(agent.get('creditsUsed') or 0)}{limit}",
    }
    shown = "".join(f"<div><b>{_text(value)}</b>{_text(name)}</div>" for name, value in cards.items())
    rows = "".join(
        f"<tr><td>{row['score']:.2f}</td><td>{_text(row['channel'])}</td>"
        f"<td>{_text(row['question'] or '')}</td><td><code>{_text(row['conversation_id'])}</code></td></tr>"
        for row in found["unsure"]
    )
    header = "<tr><th>score</th><th>channel</th><th>question</th><th>conversation</th></tr>"
    spending = [{"of": "credits", **row} for row in found["credits"]]
    there = {row["day"] for row in [*found["days"], *spending]}
    length = (max(there) - min(there)).days + 1 if there else 0
    days = [min(there) + timedelta(days=after) for after in range(length)]
    title = _text(agent.get("name") or "Agent")
    return f"""<!doctype html><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style>
<h1>{title}</h1><div class="cards">{shown}</div>
<h2>Conversations per day and channel (UTC)</h2>{chart(found["days"], "channel", "conversations", days)}
<h2>Credits per day (UTC)</h2>{chart(spending, "of", "credits", days)}
<h2>Answers with the least confidence</h2>
{f"<table>{header}{rows}</table>" if rows else "<p>None on these days.</p>"}
"""


def chart(rows: list[dict[str, Any]], kind: str, number: str, days: list[date]) -> str:
    """
    Draw bars, one a day, with the days that have none: as SVG, which needs neither a script nor a network.

    :param rows: rows with a day.
    :param kind: their column by which bars are stacked.
    :param number: their column to draw.
    :param days: all days to show, in their order.
    """
    from collections import Counter
    from io import StringIO

    from matplotlib import rc_context
    from matplotlib.dates import AutoDateLocator, DateFormatter, date2num
    from matplotlib.figure import Figure

    if not any(row[number] for row in rows):
        return "<p>None on these days.</p>"
    totals, by_kind = Counter(), {}
    for row in rows:
        totals[row[kind]] += row[number]
    named = [name for name, _ in totals.most_common(len(COLOURS) - 1)]
    for row in rows:
        stack = by_kind.setdefault(row[kind] if row[kind] in named else "other", Counter())
        stack[row["day"]] += row[number]
    figure = Figure(figsize=(9, 2.7), layout="constrained")
    axes, below = figure.subplots(), [0.0] * len(days)
    kinds = [*named, "other"] if "other" in by_kind else named
    for name, colour in zip(kinds, [*COLOURS[: len(named)], COLOURS[-1]], strict=False):
        bars = [by_kind[name][day] for day in days]
        axes.bar(days, bars, bottom=below, color=colour, width=0.85, label=name[:40])
        below = [low + bar for low, bar in zip(below, bars, strict=True)]
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="y", color="#e4e7ee")
    axes.set_axisbelow(True)
    axes.tick_params(left=False)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.set_major_formatter(lambda value, _: _number(value))
    room = max(0.75, (8 - len(days)) / 2)  # for bars that are bars, however few
    axes.set_xlim(date2num(days[0]) - room, date2num(days[-1]) + room)
    if len(days) > 8:
        axes.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=8))
    else:
        axes.set_xticks(days)
    axes.xaxis.set_major_formatter(DateFormatter("%d %b" if len(days) <= 120 else "%b %Y"))
    if len(by_kind) > 1:
        legend = axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4, frameon=False, fontsize=8
        )
        for text in legend.get_texts():
            text.set_parse_math(False)  # a channel's name is no formula
    drawn = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "chatbase"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()[drawn.getvalue().index("<svg") :]


def _number(value: float) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def _text(value: Any) -> str:
    from html import escape

    return escape(str(value))
