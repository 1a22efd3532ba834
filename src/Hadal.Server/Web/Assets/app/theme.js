// Light, dark, or as the system says.

export const themes = [["system", "System"], ["light", "Light"], ["dark", "Dark"]];

export function currentTheme() {
  return document.documentElement.dataset.theme ?? "system";
}

export function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    if (theme === "system") localStorage.removeItem("hadal.theme");
    else localStorage.setItem("hadal.theme", theme);
  } catch {
    // it counts for this page at least
  }
}
