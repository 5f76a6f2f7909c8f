#!/usr/bin/env bash
# Makes the first inputs of every target from the fixtures.
set -euo pipefail
cd "$(dirname "$0")"
fixtures=../fixtures
mkdir -p corpus/{blocks,file,folder}

for golden in "$fixtures"/golden/*.bin; do
    for row in $(seq 0 63); do
        printf "\\x$(printf %02x "$row")\\x00" | cat - <(head -c 600 "$golden") > "corpus/blocks/$row-$(basename "$golden")"
    done
done
cp "$fixtures"/broken/*.gguf corpus/file/
for model in "$fixtures"/broken/hf-*; do
    name="$(basename "$model")"
    row=0
    for file in config.json tokenizer.json tokenizer_config.json model.safetensors model.safetensors.index.json tokenizer.model; do
        if [ -f "$model/$file" ]; then
            printf "\\x0$row" | cat - "$model/$file" > "corpus/folder/$name-$file"
            [ "$file" != model.safetensors ] || cp "$model/$file" "corpus/file/$name"
        fi
        row=$((row + 1))
    done
done
printf '\x05' | cat - "$fixtures/tiny-spm/tokenizer.model" > corpus/folder/tiny-spm
