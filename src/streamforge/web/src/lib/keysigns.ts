/** The sign of a key, whatever letters a keyboard's layout has. */
type Pressed = Pick<KeyboardEvent, "key" | "code" | "shiftKey">;

/** What the key says; of a layout without Latin letters, what one that has them says in its place: `j` for `о`. */
export function signOf({ key, code, shiftKey }: Pressed): string {
  const slash = shiftKey ? "?" : "/";
  // Such a layout has `.` and `,` where others have `/` and `?`, which it has nowhere, or with another key.
  if (code === "Slash" && (key === "." || key === ",")) return slash;
  if (key.length > 1 || /[ -~]/.test(key)) return key;
  const letter = /^Key([A-Z])$/.exec(code)?.[1];
  return letter === undefined ? key : shiftKey ? letter : letter.toLowerCase();
}
