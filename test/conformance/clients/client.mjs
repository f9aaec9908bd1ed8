// Calls operations with an AWS SDK for JavaScript, of the second or the third
// kind, for the conformance suite. Arguments: the endpoint, the package, and in
// packages with many services the class. The first line of output tells the
// version and the operations; then each line of input is a call with operation
// and params, and each line of output its answer or error, as a program sees it.
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';

const [endpoint, name, service] = process.argv.slice(2);
const require = createRequire(import.meta.url);
const sdk = require(name);
const { version } = require(`${name}/package.json`);
const region = process.env.AWS_DEFAULT_REGION;
const say = (line) => console.log(JSON.stringify(line));

function second() {
  const client = new sdk[service]({ endpoint, region, maxRetries: 0 });
  const title = (method) => method[0].toUpperCase() + method.slice(1);
  return {
    operations: Object.keys(client.api.operations).map(title),
    async call(operation, params) {
      const data = await client[operation[0].toLowerCase() + operation.slice(1)](params).promise();
      return { status: data.$response.httpResponse.statusCode, result: data };
    },
    caught: (e) => ({ status: e.statusCode, code: e.code, class: e.constructor.name, request: e.requestId }),
  };
}

function third() {
  const Client = Object.entries(sdk).find(([key]) => /^Chime.*Client$/.test(key))[1];
  const client = new Client({ endpoint, region, maxAttempts: 1 });
  return {
    operations: Object.keys(sdk).filter((key) => key.endsWith('Command')).map((key) => key.slice(0, -'Command'.length)),
    async call(operation, params) {
      const { $metadata, ...result } = await client.send(new sdk[`${operation}Command`](params));
      return { status: $metadata.httpStatusCode, result };
    },
    caught: (e) => ({
      status: e.$metadata?.httpStatusCode, code: e.name, class: e.constructor.name, request: e.$metadata?.requestId,
    }),
  };
}

const { operations, call, caught } = service ? second() : third();
say({ version, operations });
for await (const line of createInterface({ input: process.stdin })) {
  const { operation, params } = JSON.parse(line);
  try {
    say(await call(operation, params));
  } catch (error) {
    const seen = caught(error);
    if (!seen.status) throw error; // no answer at all
    say({ ...seen, message: error.message });
  }
}
