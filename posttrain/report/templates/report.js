const root = document.documentElement;
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
for (const choice of document.querySelectorAll("input[name=against]")) {
  choice.addEventListener("change", () => {
    document.getElementById("metrics").className = "metrics against-" + choice.value;
  });
}
