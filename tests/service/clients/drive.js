// Drives the npm clients against the server whose address is the one argument; prints what they return as JSON.
"use strict";

const deepl = require("deepl-node");
const { translate } = require("libretranslate");

const TEXTS = ["The old house.", "A big tree sees the river."];

async function withGlossary(translator) {
  const entries = new deepl.GlossaryEntries({ entries: { tree: "Baum" } });
  const glossary = await translator.createGlossary("style", "en", "de", entries);
  const { text } = await translator.translateText(TEXTS[1], "en", "de", { glossary });
  const kept = await translator.getGlossaryEntries(glossary);
  const listed = await translator.listGlossaries();
  await translator.deleteGlossary(glossary);
  return { text, entries: kept.entries(), listed: listed.map(({ name }) => name) };
}

async function main(url) {
  const libre = { apiurl: url, source: "en", target: "de", apiKey: "a-key" };
  const translator = new deepl.Translator("a-key", { serverUrl: url, maxRetries: 0 });
  const message = (promise) => promise.then(() => null, (error) => error.message);
  return {
    libretranslate: await translate({ ...libre, query: TEXTS[0] }),
    libretranslateHtml: await translate({ ...libre, query: `<b>${TEXTS[0]}</b>`, format: "html" }),
    deepl: await translator.translateText(TEXTS, "en", "de"),
    deeplTags: await translator.translateText(`${TEXTS[0]} <x>${TEXTS[1]}</x>`, null, "de", {
      tagHandling: "xml",
      ignoreTags: ["x"],
      splitSentences: "off",
      preserveFormatting: true,
      formality: "prefer_more",
      modelType: "latency_optimized",
    }),
    deeplSources: await translator.getSourceLanguages(),
    deeplTargets: await translator.getTargetLanguages(),
    deeplUsage: await translator.getUsage(),
    deeplRefusal: await message(translator.translateText(TEXTS, "en", "fr")),
    deeplGlossary: await withGlossary(translator),
  };
}

main(process.argv[2]).then((result) => console.log(JSON.stringify(result)));
