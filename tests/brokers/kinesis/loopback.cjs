// For `node --require`: a server that names no host, and would listen on every interface, listens on loopback.
const { Server } = require("node:net");

const { listen } = Server.prototype;
Server.prototype.listen = function (port, ...rest) {
  const host = typeof port === "number" && typeof rest[0] !== "string" ? ["127.0.0.1"] : [];
  return listen.call(this, port, ...host, ...rest);
};
