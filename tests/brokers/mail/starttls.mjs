// A mail server that wants STARTTLS and a password and writes each mail to a folder, which MailDev does not offer.
// Usage: node starttls.mjs PORT CERTIFICATE KEY USER PASSWORD FOLDER
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SMTPServer } from "smtp-server";

const [port, certificate, key, user, password, folder] = process.argv.slice(2);
let mails = 0;

function onAuth(auth, session, callback) {
  const right = auth.username === user && auth.password === password;
  callback(right ? null : new Error("Wrong user or password"), right ? { user } : undefined);
}

function onData(stream, session, callback) {
  const chunks = [];
  stream.on("data", (chunk) => chunks.push(chunk));
  stream.on("end", () => {
    const name = join(folder, String(mails++));
    writeFileSync(`${name}.part`, Buffer.concat(chunks));
    renameSync(`${name}.part`, `${name}.eml`);
    callback();
  });
}

const server = new SMTPServer({
  cert: readFileSync(certificate),
  key: readFileSync(key),
  authMethods: ["PLAIN", "LOGIN"],
  onAuth,
  onData,
});
// A client that hangs up in the middle of TLS is no reason to end.
server.on("error", (error) => console.error(error.message));
server.listen(Number(port), "127.0.0.1");
