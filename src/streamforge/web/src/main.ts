import { mount } from "svelte";
import App from "./App.svelte";
import "./app.css";
import { followAddress } from "./lib/address.svelte";
import { onKey } from "./lib/keys.svelte";
import { preferences } from "./lib/preferences.svelte";
import { takeToken } from "./lib/session.svelte";
import { speak } from "./words/words.svelte";

takeToken();
followAddress();
addEventListener("hashchange", takeToken);
addEventListener("keydown", onKey);
speak(preferences.language).then(
  () => mount(App, { target: document.body }),
  () => {
    document.body.textContent =
      "StreamForge did not load: reload the page. StreamForge не загрузился: обновите страницу.";
  },
);
