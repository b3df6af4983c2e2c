// Stands in a bundle for what docker/rolldown.config.mjs leaves out.
module.exports = {}
