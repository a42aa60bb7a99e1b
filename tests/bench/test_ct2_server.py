"""The peer is a fair one: the same model, the same sentences."""

import pytest

from tests.bench.subjects import converted

SENTENCES = [
    "The train was late.",
    "Would you like another cup of coffee?",
    "He opened the window.",
    "Nobody knew the answer.",
    "What time is it?",
    "She speaks three languages.",
]


@pytest.fixture(scope="module")
def model(checkpoint_dir, tmp_path_factory):
    pytest.importorskip("ctranslate2", reason="ctranslate2 is not installed: pip install '.[bench]'")
    return converted(checkpoint_dir, tmp_path_factory.mktemp("ct2") / "float32", "float32")


def test_the_converted_model_says_what_transformers_says(model, checkpoint_dir):
    import ctranslate2
    from transformers import MarianMTModel, MarianTokenizer

    tokenizer = MarianTokenizer.from_pretrained(checkpoint_dir)
    reference = MarianMTModel.from_pretrained(checkpoint_dir).eval()
    translator = ctranslate2.Translator(str(model), compute_type="float32")
    for sentence in SENTENCES:
        inputs = tokenizer([sentence], return_tensors="pt")
        ids = reference.generate(**inputs, num_beams=1, do_sample=False, max_new_tokens=60)[0].tolist()
        expected = [token for token in tokenizer.convert_ids_to_tokens(ids) if token not in ("<pad>", "</s>")]
        pieces = tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist())
        assert translator.translate_batch([pieces], beam_size=1)[0].hypotheses[0] == expected


def test_the_peer_s_texts_are_cut_and_joined_like_ours(model, checkpoint_dir):
    from fastapi.testclient import TestClient

    from tests.bench.ct2_server import Translator, create_app

    translator = Translator(model, checkpoint_dir, threads=1)
    client = TestClient(create_app(translator))
    texts = [f"{SENTENCES[0]} {SENTENCES[1]}\n\n{SENTENCES[2]} 🙂", "42", SENTENCES[0]]
    reply = client.post("/v1/translate", json={"text": texts, "source": "en", "target": "de"}).json()
    whole, copied, alone = [translation["text"] for translation in reply["translations"]]
    parts = [translator.translate([sentence], "en")[0].text for sentence in SENTENCES[:3]]
    assert whole == f"{parts[0]} {parts[1]}\n\n{parts[2]} 🙂"
    assert (copied, alone) == ("42", parts[0])
