/** Writes beside what is built which packages of others are inside, with their licences. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "vite";

const FOLDER = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//;

interface Package {
  name: string;
  version: string;
  license: string;
  text: string;
}

function read(folder: string): Package {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
  return { name, version, license, text: file ? readFileSync(join(folder, file), "utf8").trim() : "" };
}

/** Every package of which at least one module is in a bundle: `THIRD-PARTY.txt`, and `sbom.cdx.json` as CycloneDX. */
export function thirdParty(): Plugin {
  return {
    name: "third-party",
    apply: "build",
    generateBundle(_, bundle) {
      const folders = new Set<string>();
      for (const chunk of Object.values(bundle)) {
        if (chunk.type !== "chunk") continue;
        for (const id of chunk.moduleIds) {
          const folder = FOLDER.exec(id.replaceAll("\\", "/").replace(/^\0/, ""))?.[1];
          if (folder) folders.add(folder);
        }
      }
      const packages = [...folders].map(read).sort((a, b) => (a.name < b.name ? -1 : 1));
      const text = packages.map((one) => `${one.name} ${one.version} (${one.license})\n\n${one.text}\n`);
      this.emitFile({ type: "asset", fileName: "THIRD-PARTY.txt", source: text.join(`\n${"-".repeat(78)}\n\n`) });
      const components = packages.map(({ name, version, license }) => ({
        type: "library",
        name,
        version,
        purl: `pkg:npm/${name.replace("@", "%40")}@${version}`,
        licenses: [{ license: { id: license } }],
      }));
      const sbom = { bomFormat: "CycloneDX", specVersion: "1.6", version: 1, components };
      this.emitFile({ type: "asset", fileName: "sbom.cdx.json", source: `${JSON.stringify(sbom, null, 2)}\n` });
    },
  };
}
