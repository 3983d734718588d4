import assert from "node:assert/strict";
import test from "node:test";
import { count, decimal, duration, fixed, instant, offset, percent, range, rate, signed } from "./format.ts";

const AUGUST = Date.UTC(2024, 7, 1);
const SPACES = /[\u00a0\u202f]/g;

function plain(text: string): string {
  return text.replace(SPACES, " ");
}

test("numbers are written as the language does", () => {
  assert.equal(count(1_234_567, "en"), "1,234,567");
  assert.equal(plain(count(1_234_567, "ru")), "1 234 567");
  assert.deepEqual([rate(0.2549, "en"), rate(14.32, "en"), rate(1440.4, "en")], ["0.255", "14.3", "1,440"]);
});

test("a number of so many digits has its sign, and none where nothing is left of it", () => {
  const all = [0.00123, -0.5, -0.00001, 1234.5, null, Number.NaN].map((one) => signed(one, 4, "en"));
  assert.deepEqual(all, ["+0.0012", "−0.5000", "0.0000", "+1,234.5000", "–", "–"]);
  assert.deepEqual([fixed(0.5, 2, "en"), fixed(-0.5, 1, "ru")], ["0.50", "−0,5"]);
});

test("a decimal has no exponent", () => {
  const found = [0, 60_000.25, 0.00001, 6e-7, 1.25e-8, -1.5e-7, 1e21, 1.25e22].map(decimal);
  assert.deepEqual(found, [
    "0",
    "60000.25",
    "0.00001",
    "0.0000006",
    "0.0000000125",
    "-0.00000015",
    "1000000000000000000000",
    "12500000000000000000000",
  ]);
});

test("a share is 100 % only when it is whole", () => {
  assert.deepEqual([percent(0.99999, "en"), percent(1, "en"), percent(0, "en")], ["99.9%", "100%", "0%"]);
  assert.equal(percent(1.2, "en"), "100%");
});

test("a duration has its two largest units", () => {
  assert.equal(plain(duration(0, "en")), "0 sec");
  assert.equal(plain(duration(59.6, "en")), "1 min");
  assert.equal(plain(duration(7_503, "en")), "2 hr 5 min");
  assert.equal(plain(duration(86_400 * 2 + 59, "en")), "2 days");
  assert.equal(plain(duration(3_605, "ru")), "1 ч");
  assert.equal(plain(duration(-5, "en")), "0 sec");
});

test("instants are UTC, or local where that is asked for", () => {
  process.env.TZ = "Asia/Kolkata";
  assert.equal(instant(AUGUST + 1000, "utc"), "2024-08-01 00:00:01");
  assert.equal(instant(AUGUST + 1000, "local"), "2024-08-01 05:30:01");
  assert.equal(offset(AUGUST), "+05:30");
  process.env.TZ = "America/New_York";
  assert.equal(instant(Date.UTC(2024, 0, 1), "local"), "2023-12-31 19:00:00");
  assert.equal(offset(Date.UTC(2024, 0, 1)), "−05:00");
});

test("a range is half-open, and of whole days only where both ends are", () => {
  assert.equal(range(AUGUST, AUGUST + 86_400_000, "utc"), "[2024-08-01, 2024-08-02)");
  assert.equal(range(AUGUST, AUGUST + 3_600_000, "utc"), "[2024-08-01 00:00, 2024-08-01 01:00)");
  assert.equal(range(AUGUST + 1000, AUGUST + 60_000, "utc"), "[2024-08-01 00:00:01, 2024-08-01 00:01)");
});
