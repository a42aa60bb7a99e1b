// Drives the npm clients against the server whose address is the first argument; prints what they return as JSON.
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

async function multilingual(url) {
  const client = new deepl.DeepLClient("a-key", { serverUrl: url, maxRetries: 0 });
  const dictionary = (sourceLangCode, targetLangCode, entries) => ({ sourceLangCode, targetLangCode, entries: new deepl.GlossaryEntries({ entries }) });
  const pairs = ({ dictionaries }) => dictionaries.map((each) => [each.sourceLangCode, each.targetLangCode, each.entryCount]);
  const entries = async (glossary) => (await client.getMultilingualGlossaryDictionaryEntries(glossary, "en", "de")).entries.entries();
  const glossary = await client.createMultilingualGlossary("style", [dictionary("en", "de", { tree: "Baum" }), dictionary("de", "en", { Baum: "tree" })]);
  const table = await client.createMultilingualGlossaryWithCsv("table", "en", "de", "tree,Baum\nsun,Sonne");
  await client.updateMultilingualGlossaryDictionary(glossary, dictionary("en", "de", { tree: "Linde", sun: "Stern" }));
  const merged = await entries(glossary);
  await client.replaceMultilingualGlossaryDictionary(glossary, dictionary("en", "de", { river: "Elbe" }));
  const replaced = await entries(glossary);
  const { name } = await client.updateMultilingualGlossaryName(glossary, "renamed");
  const listed = (await client.listMultilingualGlossaries()).map((each) => each.name);
  await client.deleteMultilingualGlossaryDictionary(glossary, "en", "de");
  const left = pairs(await client.getMultilingualGlossary(glossary.glossaryId));
  const words = /No dictionary found for language pair/;
  const refusal = await client.translateText(TEXTS[1], "en", "de", { glossary: glossary.glossaryId }).then(() => null, (error) => words.exec(error.message)[0]);
  for (const each of [glossary, table]) await client.deleteMultilingualGlossary(each);
  return { created: pairs(glossary), csv: pairs(table), merged, replaced, named: name, listed, left, refusal };
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

const [url, what] = process.argv.slice(2);
(what === "glossaries" ? multilingual(url) : main(url)).then((result) => console.log(JSON.stringify(result)));
