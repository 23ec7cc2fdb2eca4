# The environment of `make test`: docker build -t nq_tflite . && docker run --rm nq_tflite
FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git g++ make valgrind \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /nq_tflite
COPY . .
CMD ["make", "test"]
