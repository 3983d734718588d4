import assert from "node:assert/strict";
import test from "node:test";
import { signOf } from "./keysigns.ts";

test("a key means the same on a layout without Latin letters", () => {
  const pressed = (key: string, code: string, shiftKey = false) => signOf({ key, code, shiftKey });
  assert.deepEqual(
    [pressed("о", "KeyJ"), pressed("п", "KeyG"), pressed("ц", "KeyW"), pressed("О", "KeyJ", true)],
    ["j", "g", "w", "J"],
  );
  assert.deepEqual([pressed(".", "Slash"), pressed(",", "Slash", true)], ["/", "?"]);
  assert.deepEqual([pressed("j", "KeyJ"), pressed("/", "Slash"), pressed("?", "Slash", true)], ["j", "/", "?"]);
  assert.deepEqual([pressed("j", "KeyC"), pressed("/", "Digit7", true), pressed("-", "Slash")], ["j", "/", "-"]);
  assert.deepEqual(
    [pressed("Escape", "Escape"), pressed(".", "Period"), pressed("ж", "Semicolon")],
    ["Escape", ".", "ж"],
  );
});
