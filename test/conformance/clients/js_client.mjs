// Calls operations with the AWS SDK for JavaScript for the conformance test.
// Arguments: the package of the client and the endpoint. Lines in and out are
// as in boto3_client.py.
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const [name, endpoint] = process.argv.slice(2);
const require = createRequire(path.join(path.dirname(fileURLToPath(import.meta.url)), '../../browser/'));
const sdk = require(name);
const Client = Object.entries(sdk).find(([key]) => /^Chime.*Client$/.test(key))[1];
const client = new Client({ endpoint, region: process.env.AWS_DEFAULT_REGION, maxAttempts: 1 });

for await (const line of createInterface({ input: process.stdin })) {
  const { operation, params } = JSON.parse(line);
  try {
    const { $metadata, ...result } = await client.send(new sdk[`${operation}Command`](params));
    console.log(JSON.stringify({ status: $metadata.httpStatusCode, result }));
  } catch (error) {
    console.log(JSON.stringify({
      status: error.$metadata?.httpStatusCode ?? 0, code: error.name, message: error.message, typed: error.constructor.name,
    }));
  }
}
