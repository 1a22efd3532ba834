// Runs before the page is painted: the chosen theme must not flash.
(function () {
  try {
    const theme = localStorage.getItem("hadal.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // storage is closed to us: the system's theme it is
  }
})();
