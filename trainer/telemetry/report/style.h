// The report's style sheet.
#pragma once
#include <string_view>

namespace terse {

inline constexpr std::string_view kReportStyle = R"css(
:root{color-scheme:light dark;--page:#fbfaf7;--card:#fff;--ink:#1d1d1b;--soft:#66645e;--hair:#e6e3db;
--a:#1f5fd0;--b:#c8501e;--c:#2c8a57;--faint:#b9c6df;--band:#1f5fd012;--good:#1d7a48;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--page:#141517;--card:#1c1e21;--ink:#ecebe7;--soft:#a09d95;
--hair:#303338;--a:#7aa7ff;--b:#ff9466;--c:#63cf96;--faint:#3d4b68;--band:#7aa7ff16;--good:#63cf96;
--bad:#ff8a80}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 ui-sans-serif,system-ui,
-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1180px;margin:0 auto;padding:40px 24px 64px}
header .mark{margin:0;color:var(--soft);font-size:.8125rem;letter-spacing:.04em}
h1{margin:2px 0 4px;font-size:2rem;line-height:1.2;letter-spacing:-.02em;overflow-wrap:anywhere}
h2{margin:44px 0 14px;font-size:1.1875rem;letter-spacing:-.01em}
h3{margin:0;font-size:1rem;letter-spacing:-.005em}
header p{margin:0;color:var(--soft)}
a{color:var(--a)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:14px;margin:26px 0 0;
padding:0}
.tiles div{background:var(--card);border:1px solid var(--hair);border-radius:10px;padding:14px 16px}
.tiles dt{color:var(--soft);font-size:.8125rem}
.tiles dd{margin:0}
.tiles .value{font-size:1.625rem;font-weight:620;letter-spacing:-.02em;line-height:1.3}
.tiles .more{color:var(--soft);font-size:.8125rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:16px}
figure{margin:0;background:var(--card);border:1px solid var(--hair);border-radius:10px;
padding:16px 16px 10px;min-width:0}
figcaption{display:grid;grid-template-columns:1fr auto;column-gap:16px;margin-bottom:8px}
figcaption p{grid-column:1;margin:0;color:var(--soft);font-size:.8125rem}
.legend{grid-column:2;grid-row:1/3;margin:2px 0 0;padding:0;list-style:none;font-size:.8125rem;
color:var(--soft);text-align:left}
.key{display:inline-block;width:16px;height:3px;border-radius:2px;margin-right:7px;
vertical-align:middle;background:currentColor}
.key.a{color:var(--a)}.key.b{color:var(--b)}.key.c{color:var(--c)}.key.faint{color:var(--faint)}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font-size:12px;fill:var(--soft)}
.halo{paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round}
.end{text-anchor:end}.middle{text-anchor:middle}
.grid{stroke:var(--hair);stroke-width:1}.axis{stroke:var(--soft);stroke-width:1}
.line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.line.a{stroke:var(--a)}.line.b{stroke:var(--b)}.line.c{stroke:var(--c)}
.line.faint{stroke:var(--faint);stroke-width:1}
.dot{stroke:var(--card);stroke-width:1.5}
.dot.a{fill:var(--a)}.dot.b{fill:var(--b)}.dot.c{fill:var(--c)}
.band{fill:none}.band1{fill:var(--band)}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--hair);border-radius:10px}
table{border-collapse:collapse;width:100%;font-size:.875rem}
caption{text-align:left;padding:12px 16px 4px;color:var(--soft)}
th,td{padding:7px 16px;text-align:left;border-top:1px solid var(--hair);vertical-align:middle}
thead th{border-top:0;color:var(--soft);font-weight:500;font-size:.8125rem;white-space:nowrap}
tbody th{font-weight:500}
.n{text-align:right;white-space:nowrap}
td code,th code{font-size:.8125rem;overflow-wrap:break-word}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{margin:0;padding:14px 16px;overflow-x:auto;font-size:.8125rem;line-height:1.55}
.bar{display:block;min-width:120px;height:12px;border-radius:3px;background:var(--faint)}
.bar i{display:block;height:100%;min-width:1px;border-radius:3px;background:var(--a)}
.hist{width:112px;height:26px}.hist rect{fill:var(--a)}
.good{color:var(--good)}.bad{color:var(--bad)}
blockquote{margin:14px 0 0;padding:10px 18px;border-left:3px solid var(--a);background:var(--card);
white-space:pre-wrap;overflow-wrap:anywhere}
blockquote footer{color:var(--soft);font-size:.8125rem;margin:0}
details{background:var(--card);border:1px solid var(--hair);border-radius:10px;margin-top:14px}
summary{cursor:pointer;padding:11px 16px;font-weight:560}
details .scroll{border:0;border-radius:0 0 10px 10px}
.stack>*+*{margin-top:14px}
.foot{margin-top:44px;color:var(--soft);font-size:.8125rem}
@media (max-width:560px){main{padding:24px 14px 48px}h1{font-size:1.5rem}svg text{font-size:17px}
figcaption{grid-template-columns:1fr}.legend{grid-column:1;grid-row:auto;display:flex;flex-wrap:wrap;
column-gap:14px}th,td{padding:7px 10px}}
@media print{body{background:#fff}figure,.tiles div,tr{break-inside:avoid}}
)css";

}  // namespace terse
