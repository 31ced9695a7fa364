// Sets the reader's theme before the first picture, so that nothing flashes. A classic script on purpose.
"use strict";
try {
    const theme = localStorage.getItem("larder.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
    // Storage may be switched off; the theme of the system holds then.
}
