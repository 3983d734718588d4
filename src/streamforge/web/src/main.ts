import { mount } from "svelte";
import App from "./App.svelte";
import "./app.css";
import { followAddress } from "./lib/address.svelte";
import { onKey } from "./lib/keys.svelte";
import { takeToken } from "./lib/session.svelte";

takeToken();
followAddress();
addEventListener("hashchange", takeToken);
addEventListener("keydown", onKey);
mount(App, { target: document.body });
