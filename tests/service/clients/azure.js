// Drives Azure's npm client against the server whose address is the one argument; prints what it returns as JSON.
"use strict";

const createClient = require("@azure-rest/ai-translation-text").default;

const TEXTS = [{ text: "The old house." }, { text: "A big tree sees the river." }];

async function main(url) {
  const credential = { key: "a-key", region: "here" };
  const client = createClient(url, credential, { allowInsecureConnection: true, retryOptions: { maxRetries: 0 } });
  const post = (path, queryParameters) => client.path(path).post({ body: TEXTS, queryParameters });
  const translated = await post("/translate", { from: "en", to: "de", includeSentenceLength: true });
  const listed = await client.path("/languages").get({ queryParameters: { scope: "translation" } });
  return {
    translated: translated.body,
    requestId: translated.headers["x-requestid"],
    sentences: (await post("/breaksentence", {})).body,
    languages: listed.body,
    refusal: (await post("/translate", { to: "fr" })).body,
  };
}

main(process.argv[2]).then((result) => console.log(JSON.stringify(result)));
