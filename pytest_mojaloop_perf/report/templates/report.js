// Shows the figures under the pointer in the charts over time. The page is complete without it.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("series").textContent);
  const number = (value) => (value === null ? "\u2013" : value.toLocaleString("en", { maximumFractionDigits: 1 }));
  const namespace = "http://www.w3.org/2000/svg";

  for (const svg of document.querySelectorAll("svg[data-chart]")) {
    const series = data[svg.dataset.chart];
    if (!series) continue;
    const figure = svg.closest("figure");
    const tip = figure.querySelector(".tip") || figure.appendChild(document.createElement("div"));
    tip.className = "tip";
    const [left, right] = [Number(svg.dataset.left), Number(svg.dataset.right)];
    const cursor = document.createElementNS(namespace, "line");
    cursor.setAttribute("class", "cursor");
    cursor.setAttribute("y1", svg.dataset.top);
    cursor.setAttribute("y2", svg.dataset.bottom);
    cursor.setAttribute("visibility", "hidden");
    svg.appendChild(cursor);

    const hide = () => { tip.classList.remove("on"); cursor.setAttribute("visibility", "hidden"); };
    const show = (event) => {
      const box = svg.getBoundingClientRect();
      const scale = svg.viewBox.baseVal.width / box.width;
      const end = series.end;
      const moment = ((event.clientX - box.left) * scale - left) / (right - left) * end;
      if (moment < 0 || moment > end * 1.01) return hide();
      let index = series.at.findIndex((at) => at > moment);
      index = index < 0 ? series.at.length - 1 : Math.max(0, index - 1);
      const x = left + series.at[index] / end * (right - left);
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      cursor.setAttribute("visibility", "visible");
      tip.textContent = [`${number(series.at[index])} s`,
        ...series.rows.map(([name, values]) => `${name}  ${number(values[index])}${series.unit}`)].join("\n");
      tip.classList.add("on");
      const pixel = x / scale;
      const room = figure.clientWidth - tip.offsetWidth - 8;
      tip.style.left = `${Math.max(0, pixel + 14 < room ? pixel + 14 : pixel - tip.offsetWidth - 14)}px`;
      tip.style.top = `${Number(svg.dataset.top) / scale + 6}px`;
    };
    svg.addEventListener("pointermove", show);
    svg.addEventListener("pointerdown", show);
    svg.addEventListener("pointerleave", hide);
  }
})();
