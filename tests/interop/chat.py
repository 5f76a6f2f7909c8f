"""usage: chat.py MODEL.gguf

llama.cpp loads the file and, through the file's own chat template, answers a question.
"""
import sys

from peers import model, require

require("numpy", "llama_cpp")
with model(sys.argv[1], context=2048) as llm:
    assert "tokenizer.chat_template" in llm.metadata, "the file has no chat template"
    question = [{"role": "user", "content": "What is the capital of France?"}]
    answer = llm.create_chat_completion(question, temperature=0, max_tokens=40)["choices"][0]["message"]["content"]
    print("answer:", answer.strip())
    assert "Paris" in answer
