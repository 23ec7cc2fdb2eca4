// Opens a .tflite as Netron does, without its window, and prints what it would show as JSON.
// node netron.mjs FOLDER_OF_NETRONS_MODULES MODEL
import * as fs from 'node:fs';
import * as path from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, file] = process.argv.slice(2).map((name) => path.resolve(name));
const load = (name) => import(pathToFileURL(path.join(folder, `${name}.js`)).href);

await load('base');
const { ModelFactory } = await load('tflite');
const { FileStream } = await load('node');
const flatbuffers = await load('flatbuffers');

class Metadata {
    constructor(types) {
        this.types = new Map(types.map((type) => [type.name, type]));
    }

    type(name) {
        return this.types.get(name) ?? { name };
    }

    attribute(type, name) {
        return (this.type(type).attributes ?? []).find((attribute) => attribute.name === name) ?? null;
    }
}

const { size, mtimeMs } = fs.statSync(file);
const context = {
    identifier: path.basename(file),
    stream: new FileStream(file, 0, size, mtimeMs),
    async peek(type) {
        return type === 'flatbuffers.binary' ? flatbuffers.BinaryReader.open(this.stream) : null;
    },
    set(type, value) {
        Object.assign(this, { type, value });
        return this;
    },
    require: (name) => load(path.basename(name)),
    metadata: async (name) => new Metadata(JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8'))),
};

const factory = new ModelFactory();
if (!await factory.match(context)) {
    throw new Error(`${file}: not recognised`);
}
const model = await factory.open(context);
const values = (list) => list.map((argument) => ({ name: argument.name, value: argument.value }));
const shown = model.modules.map((graph) => graph.nodes.map((node) => ({
    type: node.type.name,
    attributes: Object.fromEntries(values(node.attributes).map(({ name, value }) => [name, value])),
    inputs: node.inputs.flatMap((argument) => argument.value.map((value) => value.name)),
    outputs: node.outputs.flatMap((argument) => argument.value.map((value) => value.name)),
})));
const plain = (key, value) => typeof value === 'bigint' ? Number(value) : value;
process.stdout.write(JSON.stringify({ format: model.format, metadata: values(model.metadata), graphs: shown }, plain));
